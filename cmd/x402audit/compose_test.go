package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"

	"x402audit/cmd/x402audit/internal/config"
)

const composeRoot = "../.."

func composeFile(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(composeRoot, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// compose loads docker-compose.yml as docker compose does, against the schema of compose files.
func compose(t *testing.T, environment map[string]string, profiles ...string) (*types.Project, error) {
	t.Helper()
	return loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: composeRoot, ConfigFiles: []types.ConfigFile{{Filename: "docker-compose.yml", Content: composeFile(t)}}, Environment: maps.Clone(environment), // which is added to
	}, loader.WithProfiles(profiles))
}

var secrets = map[string]string{"CLICKHOUSE_WRITER_PASSWORD": "w", "CLICKHOUSE_READER_PASSWORD": "r", "GRAFANA_PASSWORD": "g"}

// The file is what the schema of compose files allows; images have versions, what is mounted and built from is there, every service says whether it is well, and ours can do no more than they need.
func TestCompose(t *testing.T) {
	project, err := compose(t, secrets, "demo")
	if err != nil {
		t.Fatal(err)
	}
	if names := project.ServiceNames(); !slices.Equal(names, []string{"clickhouse", "demo", "grafana", "worker"}) {
		t.Errorf("services %v", names)
	}
	dockerfile, err := os.ReadFile(filepath.Join(composeRoot, "cmd/x402audit/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`:\d+(\.\d+)+$`)
	for name, s := range project.Services {
		if s.HealthCheck == nil || len(s.HealthCheck.Test) == 0 {
			t.Errorf("%s has no health check", name)
		}
		if s.Build == nil {
			if !version.MatchString(s.Image) {
				t.Errorf("%s: image %q has no version", name, s.Image)
			}
		} else {
			if _, err := os.Stat(filepath.Join(composeRoot, s.Build.Dockerfile)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			_, stage, found := strings.Cut(string(dockerfile), " AS "+s.Build.Target+"\n")
			stage, _, _ = strings.Cut(stage, "\nFROM ")
			if !found || !strings.Contains(stage, "\nUSER 65532:65532\n") {
				t.Errorf("%s: no stage %q of the Dockerfile, or it runs as root", name, s.Build.Target)
			}
			if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
				t.Errorf("%s can write its own files or rise", name)
			}
		}
		for _, v := range s.Volumes {
			switch v.Type {
			case types.VolumeTypeVolume:
				if _, ok := project.Volumes[v.Source]; !ok {
					t.Errorf("%s: volume %s is not declared", name, v.Source)
				}
			case types.VolumeTypeBind:
				if filepath.Base(v.Source) == "logs" { // the user's own
					continue
				}
				if !v.ReadOnly {
					t.Errorf("%s can write to %s", name, v.Source)
				}
				if _, err := os.Stat(v.Source); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		for other, d := range s.DependsOn {
			if d.Condition != types.ServiceConditionHealthy {
				t.Errorf("%s does not wait until %s is well", name, other)
			}
		}
	}
	without, err := compose(t, secrets)
	if err != nil {
		t.Fatal(err)
	}
	if names := without.ServiceNames(); slices.Contains(names, "demo") {
		t.Errorf("without the profile demo there are %v", names)
	}
}

// Every variable is documented in the file's head and in the README. Without a secret nothing starts; without the others the worker says what is missing.
func TestComposeVariables(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(composeRoot, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := composeFile(t)
	head, _, _ := bytes.Cut(text, []byte("\nname: "))
	var file map[string]any
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	variables := template.ExtractVariables(file, template.DefaultPattern)
	if len(variables) < 6 {
		t.Errorf("variables: %v", variables)
	}
	for name := range variables {
		if !bytes.Contains(head, []byte(name)) || !bytes.Contains(readme, []byte("`"+name+"`")) {
			t.Errorf("%s is not documented in both docker-compose.yml and README.md", name)
		}
	}
	for missing := range secrets {
		some := maps.Clone(secrets)
		delete(some, missing)
		if _, err := compose(t, some, "demo"); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}

	load := func(environment map[string]string) error {
		t.Helper()
		project, err := compose(t, environment)
		if err != nil {
			t.Fatal(err)
		}
		var environ []string
		for name, value := range project.Services["worker"].Environment {
			environ = append(environ, name+"="+*value)
		}
		_, err = config.Load("docker/x402audit.yaml", environ, config.Flags{})
		return err
	}
	all := map[string]string{"RPC_URL": "https://base.example", "FROM_BLOCK": "30000000", "MERCHANTS": "0x00000000000000000000000000000000000000aa,0x00000000000000000000000000000000000000bb"}
	maps.Copy(all, secrets)
	for name, key := range map[string]string{"RPC_URL": "chains[0].rpc", "FROM_BLOCK": "chains[0].from_block", "MERCHANTS": "merchants"} {
		some := maps.Clone(all)
		delete(some, name)
		if err := load(some); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("without %s the worker says %v", name, err)
		}
	}
	if err := load(all); err != nil {
		t.Errorf("with all variables: %v", err)
	}
}
