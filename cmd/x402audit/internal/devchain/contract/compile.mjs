// Compiles the contracts beside this file into artifacts.json: for each contract its ABI and runtime
// code, and the SHA-256 of the source they were made from.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import solc from "solc";

const here = new URL(".", import.meta.url);
const files = readdirSync(here).filter((name) => name.endsWith(".sol")).sort();
const source = Object.fromEntries(files.map((name) => [name, readFileSync(new URL(name, here), "utf8")]));
const settings = {
  optimizer: { enabled: true, runs: 200 },
  viaIR: true,
  evmVersion: "cancun",
  metadata: { bytecodeHash: "none", appendCBOR: false },
  outputSelection: { "*": { "*": ["abi", "evm.deployedBytecode.object"] } },
};
const input = {
  language: "Solidity",
  sources: Object.fromEntries(files.map((name) => [name, { content: source[name] }])),
  settings,
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const errors = (output.errors ?? []).filter((e) => e.severity === "error");
for (const e of output.errors ?? []) console.error(e.formattedMessage);
if (errors.length > 0) process.exit(1);

const contracts = {};
for (const file of files) {
  const name = file.replace(/\.sol$/, "");
  const made = output.contracts[file][name];
  contracts[name] = {
    sourceSha256: createHash("sha256").update(source[file]).digest("hex"),
    abi: made.abi,
    runtime: "0x" + made.evm.deployedBytecode.object,
  };
}
const artifact = { compiler: solc.version(), contracts };
writeFileSync(new URL("artifacts.json", here), JSON.stringify(artifact, null, 1) + "\n");
