package dashboards

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/grafana-tools/sdk"
)

// Grafana is where [Push] puts everything, and how it gets there.
type Grafana struct {
	URL        string
	Credential string // a service account's token, or user:password
	Folder     string // title of the folder; empty is FolderTitle
	DataSource DataSource
	Runbooks   string // address of the page whose sections the alerts link; empty leaves the links as they are
}

// DataSource is the ClickHouse that Grafana asks. Without a host it is one that Grafana has under the name.
type DataSource struct {
	Name     string // empty is DataSourceName
	Host     string
	Port     uint16
	Protocol string // native or http
	Secure   bool
	User     string
	Password string
	Database string
}

// Pushed is what a push did.
type Pushed struct {
	Version    string // Grafana's
	DataSource string // its uid
	Written    []string
	Unchanged  []string
	Alerts     int
}

// ErrProvisioned says that something came into this Grafana by files, and files would take it back.
var ErrProvisioned = errors.New("was provisioned from files: remove it there, or push nothing to this Grafana")

// ErrDiffers says that Grafana answers with something else than was written.
var ErrDiffers = errors.New("is not what was pushed")

// Push brings a Grafana to what the files say: folder, data source, dashboards, alert rules. What is so already is not written again, so that it can be
// repeated on a schedule. Every dashboard is read back and compared.
func Push(ctx context.Context, g Grafana) (done Pushed, err error) {
	if g.Folder == "" {
		g.Folder = FolderTitle
	}
	if g.DataSource.Name == "" {
		g.DataSource.Name = DataSourceName
	}
	c, err := newClient(g.URL, g.Credential)
	if err != nil {
		return done, err
	}
	health, err := c.GetHealth(ctx)
	if err != nil {
		return done, explain(g, "asking for its health", err)
	}
	done.Version = health.Version
	folder, err := c.folder(ctx, g.Folder)
	if err != nil {
		return done, explain(g, "making the folder "+g.Folder, err)
	}
	if done.DataSource, err = c.dataSource(ctx, g.DataSource); err != nil {
		return done, explain(g, "setting up the data source "+g.DataSource.Name, err)
	}
	uids, err := UIDs()
	if err != nil {
		return done, err
	}
	for _, uid := range uids {
		written, err := c.dashboard(ctx, uid, folder, g.DataSource.Name, done.DataSource)
		if err != nil {
			return done, explain(g, "dashboard "+uid, err)
		}
		if written {
			done.Written = append(done.Written, uid)
		} else {
			done.Unchanged = append(done.Unchanged, uid)
		}
	}
	groups, err := Alerts()
	if err != nil {
		return done, err
	}
	for _, group := range groups {
		for _, rule := range group.Rules {
			if err := c.setAlert(ctx, rule.UID, rule.pushed(group.Name, folder.UID, done.DataSource, g.Runbooks)); err != nil {
				return done, explain(g, "alert "+rule.UID, err)
			}
			done.Alerts++
		}
	}
	return done, nil
}

// folder finds the folder by its uid, or makes it: making it twice is refused.
func (c *client) folder(ctx context.Context, title string) (sdk.Folder, error) {
	f, err := c.GetFolderByUID(ctx, FolderUID)
	if absent(err) {
		f, err = c.CreateFolder(ctx, sdk.Folder{UID: FolderUID, Title: title})
	}
	return f, err
}

// dataSource finds the data source by its name, sets it up where the configuration says how, and returns its uid.
func (c *client) dataSource(ctx context.Context, d DataSource) (uid string, err error) {
	there, err := c.GetDatasourceByName(ctx, d.Name)
	if err != nil && !absent(err) {
		return "", err
	}
	switch {
	case err == nil && there.Type != DataSourceType:
		return "", fmt.Errorf("it is of the type %s, not %s: name another in grafana.datasource.name", there.Type, DataSourceType)
	case err == nil && (d.Host == "" || there.ReadOnly != nil && *there.ReadOnly):
		return there.UID, nil
	case d.Host == "":
		return "", errors.New("there is none: make it, or say in grafana.datasource where ClickHouse is")
	}
	want := sdk.Datasource{
		UID: there.UID, Name: d.Name, Type: DataSourceType, Access: "proxy", IsDefault: there.IsDefault,
		JSONData:       d.settings(),
		SecureJSONData: map[string]any{"password": d.Password}, // which cannot be read back, so it is set each time
	}
	if err == nil {
		return there.UID, c.updateDataSource(ctx, want)
	}
	if _, err := c.CreateDatasource(ctx, want); err != nil {
		return "", err
	}
	there, err = c.GetDatasourceByName(ctx, d.Name)
	return there.UID, err
}

// dashboard writes a dashboard unless it is there as it should be, and reads it back.
func (c *client) dashboard(ctx context.Context, uid string, folder sdk.Folder, name, dataSource string) (written bool, err error) {
	want, err := read(uid)
	if err != nil {
		return false, err
	}
	choose(want, name, dataSource)
	text, err := json.Marshal(want)
	if err != nil {
		return false, err
	}
	same := func() (bool, error) {
		text, _, err := c.GetRawDashboardByUID(ctx, uid)
		if err != nil {
			return false, err
		}
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			return false, err
		}
		for _, own := range []string{"id", "version"} { // Grafana's
			delete(got, own)
			delete(want, own)
		}
		if !reflect.DeepEqual(got, want) {
			return false, nil
		}
		found, err := c.Search(ctx, sdk.SearchType(sdk.SearchTypeDashboard), func(v *url.Values) { v.Set("dashboardUIDs", uid) })
		for _, f := range found {
			if f.UID == uid {
				return f.FolderUID == folder.UID, err
			}
		}
		return false, err
	}
	if is, err := same(); is || err != nil && !absent(err) {
		return false, err
	}
	request := sdk.RawBoardRequest{Dashboard: text, Parameters: sdk.SetDashboardParams{FolderID: folder.ID, Overwrite: true}}
	if _, err := c.SetRawDashboardWithParam(ctx, request); err != nil {
		return false, err
	}
	if is, err := same(); err != nil {
		return false, err
	} else if !is {
		return false, ErrDiffers
	}
	return true, nil
}

// choose has a dashboard open with a data source.
func choose(dashboard map[string]any, name, uid string) {
	templating, _ := dashboard["templating"].(map[string]any)
	variables, _ := templating["list"].([]any)
	for _, v := range variables {
		if v, ok := v.(map[string]any); ok && v["type"] == "datasource" {
			v["current"] = map[string]any{"text": name, "value": uid}
		}
	}
}

// explain puts what can be mended into words.
func explain(g Grafana, doing string, err error) error {
	var status *StatusError
	var network *url.Error
	var sentence string
	switch {
	case errors.As(err, &status):
		switch {
		case strings.Contains(status.Message, "provisioned dashboard") || strings.Contains(status.Message, "provenance"):
			return fmt.Errorf("Grafana at %s: %s %w (%w)", g.URL, doing, ErrProvisioned, status)
		case status.Code == http.StatusUnauthorized:
			sentence = "it does not know the credential in grafana.token, or that has expired"
		case status.Code == http.StatusForbidden:
			sentence = "the credential in grafana.token may not do this: dashboards and alerts take the role Editor, data sources Admin"
		case status.Code == http.StatusNotFound:
			sentence = "there is no such place: does grafana.url lack the path that Grafana is served under?"
		case status.Code == http.StatusConflict:
			sentence = "something else has that name or uid: rename one of the two"
		case status.Code == http.StatusPreconditionFailed:
			sentence = "somebody else changed it at the same time: push again"
		case status.Code/100 == 3:
			sentence = "set grafana.url to where it is served"
		default:
			sentence = "it refused"
		}
	case errors.Is(err, errNotGrafana):
		sentence = "somebody else answers there: is grafana.url right?"
	case errors.As(err, &network):
		return fmt.Errorf("Grafana at %s cannot be reached: %w", g.URL, network.Err)
	default:
		sentence = "failed"
	}
	return fmt.Errorf("Grafana at %s: %s: %s (%w)", g.URL, doing, sentence, err)
}
