package dashboards

import (
	"fmt"
	"maps"
	"strings"

	"go.yaml.in/yaml/v3"
)

// AlertGroup is a group of alert rules that are asked together.
type AlertGroup struct {
	Name     string
	Folder   string
	Interval string
	Rules    []Alert
}

// Alert is one rule, as Grafana's alert provisioning has it.
type Alert struct {
	UID          string
	Title        string
	Condition    string
	For          string
	NoDataState  string         `yaml:"noDataState"`
	ExecErrState string         `yaml:"execErrState"`
	Data         []AlertQuery   `yaml:"data"`
	Annotations  map[string]any `yaml:"annotations"`
	Labels       map[string]any `yaml:"labels"`
}

// AlertQuery is a query of the data source, or an expression over others.
type AlertQuery struct {
	RefID             string         `yaml:"refId" json:"refId"`
	DataSourceUID     string         `yaml:"datasourceUid" json:"datasourceUid"`
	RelativeTimeRange TimeRange      `yaml:"relativeTimeRange" json:"relativeTimeRange"`
	Model             map[string]any `yaml:"model" json:"model"`
}

// TimeRange is in seconds before now.
type TimeRange struct {
	From int `yaml:"from" json:"from"`
	To   int `yaml:"to" json:"to"`
}

// Alerts reads the alert rules. A dollar sign is written twice in provisioning files, where one would name a variable of Grafana's environment; here it
// is one.
func Alerts() ([]AlertGroup, error) {
	const file = "provisioning/alerting/x402.yaml"
	text, err := Files.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var provisioned struct{ Groups []AlertGroup }
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(string(text), "$$", "$")), &provisioned); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return provisioned.Groups, nil
}

// pushed is the rule as Grafana's provisioning API takes it.
func (a Alert) pushed(group, folderUID, dataSourceUID, runbooks string) map[string]any {
	data := make([]AlertQuery, len(a.Data))
	for i, q := range a.Data {
		if q.DataSourceUID == DataSourceName {
			q.DataSourceUID = dataSourceUID
		}
		data[i] = q
	}
	annotations := maps.Clone(a.Annotations)
	if _, section, ok := strings.Cut(fmt.Sprint(annotations["runbook_url"]), "#"); ok && runbooks != "" {
		annotations["runbook_url"] = runbooks + "#" + section
	}
	return map[string]any{
		"uid": a.UID, "title": a.Title, "condition": a.Condition, "for": a.For, "noDataState": a.NoDataState, "execErrState": a.ExecErrState,
		"data": data, "annotations": annotations, "labels": a.Labels, "folderUID": folderUID, "ruleGroup": group, "orgID": 1,
	}
}
