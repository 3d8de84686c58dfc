// Package dashtest checks dashboards and alerts without a Grafana: their structure, and every query that they make, on the engine.
//
// [Load] reads the dashboards as far as the checks look at them. [Expand] does to a query what the browser and the plugin do. [Run] asks the engine as the
// reader role and holds the answer against what its format needs; who calls it says over which books. Structure is checked by [Structure].
package dashtest

import (
	"encoding/json"
	"fmt"
	"io/fs"

	"x402audit/dashboards"
)

// Board is a dashboard.
type Board struct {
	UID, Title, Description string
	Tags                    []string
	Editable                bool
	Timezone, Refresh       string
	SchemaVersion           int
	ID                      any
	Panels                  []Panel
	Templating              struct{ List []Variable }
	Annotations             struct{ List []Annotation }
	Links                   []Link

	text []byte
}

// Panel is a panel, or the heading of a row of them.
type Panel struct {
	ID                       int
	Type, Title, Description string
	Interval                 string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               Source
	Targets                  []Target
	FieldConfig              struct {
		Defaults  Field
		Overrides []struct{ Properties []Property }
	}
	Options json.RawMessage
}

// Source names a data source.
type Source struct{ Type, UID string }

// Field is how values are shown.
type Field struct {
	Unit    string
	NoValue string
	Links   []Link
}

// Property is one override.
type Property struct {
	ID    string
	Value json.RawMessage
}

// Target is a query.
type Target struct {
	RefID      string
	RawSQL     string `json:"rawSql"`
	Format     int
	QueryType  string
	Expr       string // of Prometheus
	Datasource Source
}

// Variable is one of the dropdowns and boxes on top.
type Variable struct {
	Name, Type, Label, Description string
	Query                          string
	Multi, IncludeAll              bool
	AllValue                       *string
	Datasource                     Source
}

// Annotation is a query for marks on the time axis.
type Annotation struct {
	Name       string
	Datasource Source
	Target     Target
}

// Link leads somewhere else.
type Link struct {
	Title, URL, Type     string
	Tags                 []string
	IncludeVars          bool
	KeepTime, AsDropdown bool
}

// Load reads all dashboards.
func Load() ([]Board, error) {
	files, err := fs.Glob(dashboards.Files, "*.json")
	if err != nil {
		return nil, err
	}
	boards := make([]Board, len(files))
	for i, name := range files {
		b := &boards[i]
		if b.text, err = dashboards.Files.ReadFile(name); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b.text, b); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if b.UID+".json" != name {
			return nil, fmt.Errorf("%s has the uid %s", name, b.UID)
		}
	}
	return boards, nil
}

// Kind says what a query is for, and so what it has to answer.
type Kind string

const (
	Series       Kind = "series"     // format 0: a time and numbers
	Table        Kind = "table"      // format 1
	OfVariable   Kind = "variable"   // a value, and a text for it
	OfAnnotation Kind = "annotation" // time, text, perhaps timeEnd and tags
	OfAlert      Kind = "alert"      // labels and one number
)

// Query is one query and where it stands.
type Query struct {
	Where string
	Kind  Kind
	SQL   string
}

// Queries are all queries of a dashboard.
func (b *Board) Queries() (all []Query) {
	for _, v := range b.Templating.List {
		if v.Type == "query" {
			all = append(all, Query{b.UID + ": variable " + v.Name, OfVariable, v.Query})
		}
	}
	for _, a := range b.Annotations.List {
		if a.Target.RawSQL != "" {
			all = append(all, Query{b.UID + ": annotation " + a.Name, OfAnnotation, a.Target.RawSQL})
		}
	}
	for _, p := range b.Panels {
		for _, t := range p.Targets {
			if t.Expr != "" {
				continue
			}
			kind := Series
			if t.Format == 1 {
				kind = Table
			}
			all = append(all, Query{b.UID + ": " + p.Title, kind, t.RawSQL})
		}
	}
	return all
}

// Expressions are what a dashboard asks of Prometheus.
func (b *Board) Expressions() (all []string) {
	for _, p := range b.Panels {
		for _, t := range p.Targets {
			if t.Expr != "" {
				all = append(all, t.Expr)
			}
		}
	}
	return all
}

// Alerts are the queries of the alert rules.
func Alerts() (all []Query, err error) {
	groups, err := dashboards.Alerts()
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		for _, rule := range g.Rules {
			for _, q := range rule.Data {
				if sql, ok := q.Model["rawSql"].(string); ok {
					all = append(all, Query{"alert " + rule.UID, OfAlert, sql})
				}
			}
		}
	}
	return all, nil
}
