package engine

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"os"
	"text/template"
)

const (
	appUser    = "app"
	readerUser = "reader"

	// instanceMacro is a macro of the engine's configuration whose value only an
	// authenticated query gets.
	instanceMacro = "x402audit_instance"
)

// startScript is what the engine runs first, as user default: it opens the listeners
// and tells their ports; then, whether that went well or not, that it is through.
var startScript = []string{
	"SYSTEM START LISTEN HTTP",
	"SYSTEM START LISTEN TCP",
	"SELECT getServerPort('http_port'), getServerPort('tcp_port') INTO OUTFILE 'ports' TRUNCATE FORMAT TSV",
	"SELECT 1 INTO OUTFILE 'started' TRUNCATE FORMAT TSV",
}

var (
	//go:embed config.xml
	configXML string
	//go:embed users.xml
	usersXML string

	configTemplate = template.Must(template.New("config.xml").Funcs(xmlFuncs).Parse(configXML))
	usersTemplate  = template.Must(template.New("users.xml").Funcs(xmlFuncs).Parse(usersXML))

	xmlFuncs = template.FuncMap{
		"xml": func(s string) (string, error) {
			var b bytes.Buffer
			err := xml.EscapeText(&b, []byte(s))
			return b.String(), err
		},
		"sha256": func(s string) string {
			sum := sha256.Sum256([]byte(s))
			return hex.EncodeToString(sum[:])
		},
	}
)

// writeConfig writes config.xml and users.xml for one start. Passwords are in
// neither, only their hashes. The gate is asked about user default.
func (f folder) writeConfig(o Options, s state, gate string) error {
	values := struct {
		Options
		state
		Run         string
		Macro       string
		Gate        string
		CacheMemory int64
		QueryMemory int64
	}{o, s, f.run(""), instanceMacro, gate, o.MaxMemory / 8, o.MaxMemory / 2}
	for name, t := range map[string]*template.Template{"config.xml": configTemplate, "users.xml": usersTemplate} {
		var b bytes.Buffer
		if err := t.Execute(&b, values); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(f.run(name), b.Bytes(), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// newState makes what a start needs to be told apart from all others. The reader's
// password is the folder's, if it has one: data sources are set up with it.
func (f folder) newState() state {
	s := state{Pid: os.Getpid(), Instance: secret(), User: appUser, Password: secret(), Reader: readerUser}
	if last, err := f.readState(); err == nil && last.ReaderPassword != "" {
		s.ReaderPassword = last.ReaderPassword
	} else {
		s.ReaderPassword = secret()
	}
	return s
}

func secret() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
