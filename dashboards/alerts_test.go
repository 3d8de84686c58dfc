package dashboards_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"x402audit/dashboards"
)

// Each alert has a condition among its queries, leads to a panel that exists and to a section of the README.
func TestAlerts(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(readme), -1) {
		sections[strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")] = true
	}
	panels := map[string]bool{}
	boards := load(t)
	for i := range boards {
		for _, p := range boards[i].Panels {
			panels[fmt.Sprintf("%s %d", boards[i].UID, p.ID)] = p.Type != "row"
		}
	}
	groups, err := dashboards.Alerts()
	if err != nil || len(groups) == 0 {
		t.Fatalf("%d groups of alerts, %v", len(groups), err)
	}
	uids := map[string]bool{}
	for _, g := range groups {
		for _, a := range g.Rules {
			if uids[a.UID] || a.UID == "" || a.Title == "" || a.For == "" || a.NoDataState == "" || a.Labels["severity"] == nil || g.Folder != dashboards.FolderTitle {
				t.Errorf("alert %s: its uid is another's, or title, for, noDataState, severity or folder are missing", a.UID)
			}
			uids[a.UID] = true
			if panel := fmt.Sprintf("%s %s", a.Annotations["__dashboardUid__"], a.Annotations["__panelId__"]); !panels[panel] {
				t.Errorf("alert %s leads to the panel %s, which is none", a.UID, panel)
			}
			if section, ok := strings.CutPrefix(fmt.Sprint(a.Annotations["runbook_url"]), "README.md#"); !ok || !sections[section] {
				t.Errorf("alert %s leads to the section %s, which the README does not have", a.UID, section)
			}
			conditions := 0
			for _, q := range a.Data {
				if q.RefID == a.Condition {
					conditions++
				}
				if q.DataSourceUID != dashboards.DataSourceName && q.DataSourceUID != "__expr__" {
					t.Errorf("alert %s asks %s", a.UID, q.DataSourceUID)
				}
			}
			if conditions != 1 {
				t.Errorf("alert %s has %d conditions", a.UID, conditions)
			}
		}
	}
	rules, err := dashboards.Files.ReadFile("prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`runbook_url: README.md#(\S+)`).FindAllStringSubmatch(string(rules), -1) {
		if !sections[m[1]] {
			t.Errorf("a rule of Prometheus leads to the section %s, which the README does not have", m[1])
		}
	}
}
