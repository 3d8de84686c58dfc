// Reads {dashboards: {name: JSON}, expressions: [PromQL]} from standard input and writes what is wrong with them, one line each: dashboards against
// Grafana's own types, with the options and field settings of each panel against those of its plugin; expressions against Prometheus' grammar.
// The packages are in the folder that is the only argument.
import { createRequire } from "node:module";
import { join } from "node:path";
import { text } from "node:stream/consumers";

const folder = process.argv[2];
const require = createRequire(join(folder, "package.json"));
const { createGenerator } = require("ts-json-schema-generator");
const Ajv = require("ajv").default;
const { parser } = require("@prometheus-io/lezer-promql");

const panels = {
  barchart: "BarChart", bargauge: "BarGauge", heatmap: "Heatmap", stat: "Stat", table: "Table", timeseries: "TimeSeries",
};
const dist = join(folder, "node_modules/@grafana/schema/dist");

const ajv = new Ajv({ allErrors: true, strict: false });
const types = (path, type) => {
  const schema = createGenerator({ path: join(dist, path), type, skipTypeCheck: true, additionalProperties: false, jsDoc: "none" }).createSchema(type);
  if (schema.definitions.AnnotationTarget) schema.definitions.AnnotationTarget = {}; // typed for Grafana's own data source; ours has queries of its own
  return ajv.compile(schema);
};
const ofDashboard = types("types/raw/dashboard/x/types.gen.d.ts", "Dashboard");
const ofPanel = (panel, type) => {
  const id = panel.type + type;
  known[id] ??= types(`esm/raw/composable/${panel.type}/panelcfg/x/${panels[panel.type]}PanelCfg_types.gen.d.ts`, type);
  return known[id];
};
const known = {};
const wrong = (where, check, value) => (check(value) ? [] : check.errors.map((e) => `${where}${e.instancePath}: ${e.message} ${JSON.stringify(e.params)}`));

const input = JSON.parse(await text(process.stdin));
const found = [];
for (const [name, dashboard] of Object.entries(input.dashboards)) {
  found.push(...wrong(name, ofDashboard, dashboard));
  for (const panel of dashboard.panels) {
    if (panel.type === "row") continue;
    if (!panels[panel.type]) {
      found.push(`${name}: ${panel.title}: the types of ${panel.type} are not checked: add it to check.mjs`);
      continue;
    }
    found.push(...wrong(`${name}: ${panel.title}: options`, ofPanel(panel, "Options"), panel.options));
    if (panel.fieldConfig?.defaults?.custom) {
      found.push(...wrong(`${name}: ${panel.title}: custom`, ofPanel(panel, "FieldConfig"), panel.fieldConfig.defaults.custom));
    }
  }
}
for (const expression of input.expressions) {
  parser.parse(expression).iterate({
    enter(node) {
      if (node.type.isError) found.push(`${expression}: not PromQL at ${node.from}`);
    },
  });
}
console.log(found.join("\n"));
