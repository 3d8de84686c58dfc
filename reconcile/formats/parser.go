package formats

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"unicode/utf8"

	"x402audit/schema"
)

// MaxLine is the longest line, in bytes, that is read into a claim.
const MaxLine = 1 << 20

// Reasons why a line is rejected: short, stable words.
const (
	MalformedJSON      = "malformed_json"
	Truncated          = "truncated"
	NotUTF8            = "not_utf8"
	TooLong            = "too_long"
	UnknownShape       = "unknown_shape"
	MissingNetwork     = "missing_network"
	UnsupportedNetwork = "unsupported_network"
	BadAmount          = "bad_amount"
	BadAddress         = "bad_address"
	BadNonce           = "bad_nonce"
	BadTime            = "bad_time"
)

// RejectError says why a line is no claim. Detail is one sentence that names the field and quotes neither line nor signature.
type RejectError struct {
	Reason string
	Detail string
}

func (e *RejectError) Error() string { return e.Reason + ": " + e.Detail }

func reject(reason, detail string, args ...any) *RejectError {
	return &RejectError{Reason: reason, Detail: fmt.Sprintf(detail, args...)}
}

// Token is a followed token with its EIP-712 domain. The domain is the configuration's: what a record's requirements say of it is
// anyone's to choose.
type Token struct {
	Address schema.Address
	Name    string
	Version string
}

// Options of one source of lines.
type Options struct {
	Facilitator string             // where the line names none
	Role        schema.Role        // "" finds it: a record with a server's transport context is a server's
	Format      string             // one of Names; "" finds it line by line
	Chains      map[uint64][]Token // by chain id; signatures are checked on these tokens only
}

// format takes a line apart. holds looks at the line's own fields only.
type format struct {
	name  string
	holds func(line object) bool
	read  func(line object) (record, error)
}

// known formats in the order in which they are tried.
var known = []format{
	{"canonical", isCanonical, readCanonical},
	{"hook", isHook, readHook},
}

// Names are the formats that Options.Format may name.
func Names() []string {
	names := make([]string, len(known))
	for i, f := range known {
		names[i] = f.name
	}
	return names
}

// Parser reads the lines of one source. It can be used by several goroutines.
type Parser struct {
	facilitator string
	role        schema.Role
	formats     []format
	domains     map[uint64][]domain
}

// New prepares a parser; it fails for a format or a role that does not exist.
func New(o Options) (*Parser, error) {
	p := &Parser{facilitator: o.Facilitator, role: o.Role, formats: known, domains: map[uint64][]domain{}}
	switch o.Role {
	case "", schema.RoleFacilitator, schema.RoleServer:
	default:
		return nil, fmt.Errorf("role %q is neither %s nor %s", o.Role, schema.RoleFacilitator, schema.RoleServer)
	}
	if o.Format != "" {
		p.formats = nil
		for _, f := range known {
			if f.name == o.Format {
				p.formats = []format{f}
			}
		}
		if p.formats == nil {
			return nil, fmt.Errorf("format %q is none of %s", o.Format, strings.Join(Names(), ", "))
		}
	}
	for id, tokens := range o.Chains {
		for _, t := range tokens {
			p.domains[id] = append(p.domains[id], newDomain(id, t))
		}
		sort.Slice(p.domains[id], func(i, j int) bool {
			return p.domains[id][i].token.Cmp(p.domains[id][j].token) < 0
		})
	}
	return p, nil
}

// Parse reads one line, with or without its newline. A blank line is no claim and no error; a line that cannot be used is a
// *RejectError. The same line always gives the same claims.
func (p *Parser) Parse(line []byte) ([]schema.Claim, error) {
	text := bytes.TrimSpace(line)
	if len(text) == 0 {
		return nil, nil
	}
	if len(text) > MaxLine {
		return nil, reject(TooLong, "the line is longer than %d bytes", MaxLine)
	}
	if !utf8.Valid(text) {
		return nil, reject(NotUTF8, "the line is not UTF-8")
	}
	value, err := decode(text)
	if err != nil {
		return nil, err
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return nil, reject(UnknownShape, "the line is not a JSON object")
	}
	for _, f := range p.formats {
		if !f.holds(fields) {
			continue
		}
		r, err := f.read(fields)
		if err != nil {
			return nil, err
		}
		r.format = f.name
		c, err := p.claim(r)
		if err != nil {
			return nil, err
		}
		return []schema.Claim{c}, nil
	}
	return nil, reject(UnknownShape, "the object is no settlement record of a known format")
}

// decode reads exactly one JSON value and keeps numbers as they were written: an amount must not pass through a float.
func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, reject(Truncated, "the line ends inside its JSON value")
		}
		return nil, reject(MalformedJSON, "the line is not JSON from byte %d on", d.InputOffset())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, reject(MalformedJSON, "something follows the line's JSON value")
	}
	return value, nil
}
