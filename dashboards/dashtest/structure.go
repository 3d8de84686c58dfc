package dashtest

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"x402audit/dashboards"
)

// dataSource is the variable that every query asks.
var dataSource = Source{dashboards.DataSourceType, "${datasource}"}

// prometheus is the one that panels about the worker itself ask.
var prometheus = Source{"prometheus", "${prometheus}"}

var drill = regexp.MustCompile(`^/d/([\w-]+)(?:/[^?]*)?\?(.*)$`)

// Structure checks what a person would trip over: of each dashboard alone, and of all together.
func Structure(t *testing.T, boards []Board) {
	uids := map[string]*Board{}
	for i := range boards {
		uids[boards[i].UID] = &boards[i]
	}
	for i := range boards {
		b := &boards[i]
		t.Run(b.UID, func(t *testing.T) {
			if b.Description == "" || b.Editable || b.Timezone != "utc" || b.Refresh == "" || b.SchemaVersion != 42 || b.ID != nil || !slices.Equal(b.Tags, []string{"x402"}) {
				t.Error("a dashboard has a description, is not editable, in UTC, refreshes, has schema version 42, no id, and the tag x402")
			}
			if len(b.Links) == 0 || !b.Links[0].IncludeVars || !b.Links[0].KeepTime {
				t.Error("the other dashboards are linked with time and variables")
			}
			panels(t, b)
			variables(t, b)
			for _, link := range links(t, b) {
				m := drill.FindStringSubmatch(link.URL)
				if m == nil {
					if !strings.HasPrefix(link.URL, "${__data.fields.") { // an address that the query made
						t.Errorf("link %q leads to %s", link.Title, link.URL)
					}
					continue
				}
				to := uids[m[1]]
				if to == nil {
					t.Errorf("link %q leads to the dashboard %s, which is none", link.Title, m[1])
					continue
				}
				if !strings.Contains(m[2], "${__url_time_range}") || !strings.Contains(m[2], "${datasource:queryparam}") {
					t.Errorf("link %q loses the time range or the data source", link.Title)
				}
				for _, part := range strings.Split(m[2], "&") {
					name, _, _ := strings.Cut(part, "=")
					if name, ok := strings.CutPrefix(name, "var-"); ok && !has(to, name) {
						t.Errorf("link %q sets the variable %s, which %s does not have", link.Title, name, to.UID)
					}
					if name, ok := strings.CutPrefix(part, "${"); ok && strings.HasSuffix(name, ":queryparam}") {
						if name = strings.TrimSuffix(name, ":queryparam}"); !has(b, name) || !has(to, name) {
							t.Errorf("link %q hands on the variable %s, which one of the two does not have", link.Title, name)
						}
					}
				}
				if _, err := url.Parse(m[0]); err != nil {
					t.Errorf("link %q: %v", link.Title, err)
				}
			}
			for _, a := range b.Annotations.List {
				if a.Target.RawSQL != "" && (a.Datasource != dataSource || a.Target.RefID != "Anno") {
					t.Errorf("annotation %s does not ask the data source variable", a.Name)
				}
			}
		})
	}
}

func has(b *Board, variable string) bool {
	return slices.ContainsFunc(b.Templating.List, func(v Variable) bool { return v.Name == variable })
}

func panels(t *testing.T, b *Board) {
	ids, titles := map[int]bool{}, map[string]bool{}
	for i, p := range b.Panels {
		if ids[p.ID] || p.ID == 0 || titles[p.Title] {
			t.Errorf("%s: the id %d or the title is another panel's", p.Title, p.ID)
		}
		ids[p.ID], titles[p.Title] = true, true
		if p.GridPos.X < 0 || p.GridPos.W <= 0 || p.GridPos.H <= 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s lies beside the grid", p.Title)
		}
		for _, o := range b.Panels[:i] {
			if a, b := p.GridPos, o.GridPos; a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%s lies over %s", p.Title, o.Title)
			}
		}
		if p.Type == "row" || p.Type == "text" {
			continue
		}
		if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.FieldConfig.Defaults.NoValue == "" || p.Datasource != dataSource && p.Datasource != prometheus || len(p.Targets) == 0 {
			t.Errorf("%s: a panel has a description, a unit, words for no value, the data source variable and a query", p.Title)
		}
		for _, target := range p.Targets {
			if target.Datasource != p.Datasource || p.Datasource == dataSource && target.QueryType != map[int]string{0: "timeseries", 1: "table"}[target.Format] {
				t.Errorf("%s: query %s does not ask the data source variable, or its type is not its format's", p.Title, target.RefID)
			}
		}
	}
}

func variables(t *testing.T, b *Board) {
	if len(b.Templating.List) == 0 || b.Templating.List[0].Name != "datasource" || b.Templating.List[0].Query != dashboards.DataSourceType {
		t.Error("the first variable is the data source")
	}
	for _, v := range b.Templating.List {
		if v.Label == "" || v.AllValue != nil || v.Type == "query" && v.Datasource != dataSource {
			t.Errorf("variable %s has no label, a value for all, or asks another data source", v.Name)
		}
		used := v.Type == "datasource"
		for _, q := range b.Queries() {
			used = used || strings.Contains(q.SQL, "$"+v.Name+")") // as the second argument of $__conditionalAll
		}
		if !used {
			t.Errorf("variable %s chooses nothing", v.Name)
		}
	}
}

// links are all data links of a dashboard, wherever they stand.
func links(t *testing.T, b *Board) (all []Link) {
	for _, p := range b.Panels {
		all = append(all, p.FieldConfig.Defaults.Links...)
		for _, o := range p.FieldConfig.Overrides {
			for _, property := range o.Properties {
				if property.ID == "links" {
					var links []Link
					if err := json.Unmarshal(property.Value, &links); err != nil {
						t.Errorf("%s: %v", p.Title, err)
					}
					all = append(all, links...)
				}
			}
		}
	}
	return all
}

// Colours checks that a word has one colour wherever it is shown: in a mapping of values, or as the name of a series.
func Colours(t *testing.T, boards []Board, words []string) {
	seen := map[string]string{}
	note := func(board, word, colour string) {
		if !slices.Contains(words, word) || colour == "" {
			return
		}
		if was, ok := seen[word]; ok && was != colour {
			t.Errorf("%s is %s in one place and %s on %s", word, was, colour, board)
		}
		seen[word] = colour
	}
	type override struct {
		Matcher    struct{ Options any }
		Properties []Property
	}
	type mapping struct {
		Type    string
		Options json.RawMessage
	}
	for i := range boards {
		var b struct {
			Panels []struct {
				FieldConfig struct {
					Defaults  struct{ Mappings []mapping }
					Overrides []override
				}
			}
		}
		if err := json.Unmarshal(boards[i].text, &b); err != nil {
			t.Fatal(err)
		}
		mapped := func(mappings []mapping) {
			for _, m := range mappings {
				var values map[string]struct{ Color string }
				if m.Type != "value" {
					continue
				}
				if err := json.Unmarshal(m.Options, &values); err != nil {
					t.Errorf("%s: %v", boards[i].UID, err)
				}
				for word, shown := range values {
					note(boards[i].UID, word, shown.Color)
				}
			}
		}
		for _, p := range b.Panels {
			mapped(p.FieldConfig.Defaults.Mappings)
			for _, o := range p.FieldConfig.Overrides {
				for _, property := range o.Properties {
					var colour struct{ FixedColor string }
					var mappings []mapping
					switch property.ID {
					case "color":
						if word, ok := o.Matcher.Options.(string); ok && json.Unmarshal(property.Value, &colour) == nil {
							note(boards[i].UID, word, colour.FixedColor)
						}
					case "mappings":
						if json.Unmarshal(property.Value, &mappings) == nil {
							mapped(mappings)
						}
					}
				}
			}
		}
	}
	for _, word := range words {
		if seen[word] == "" {
			t.Errorf("%s has no colour", word)
		}
	}
}
