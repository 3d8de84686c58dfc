package formats

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"unicode/utf8"

	"x402audit/schema"
)

// MaxLine is the longest line, in bytes, that is read into a claim.
const MaxLine = 1 << 20

// Reasons why a line is rejected: short, stable words.
const (
	MalformedJSON      = "malformed_json"
	MalformedCSV       = "malformed_csv"
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
	Bound       bool               // whose lines these are is known: the facilitator that a line names does not count
	Role        schema.Role        // "" finds it: a record with a server's transport context or of its access log is a server's
	Format      string             // one of Names; "" finds it line by line
	JSONPath    string             // where in a line's object the record stands, such as ctx.payment; "" looks for it
	Columns     map[string]string  // of formats flat and csv: what the source calls a field of ColumnNames
	Chains      map[uint64][]Token // by chain id; signatures are checked on these tokens only
	// Unchecked leaves signatures alone, which are most of the work; claims then say unchecked. Only where a record names no token is its signature still
	// recovered: it is the one thing that tells which token it can move.
	Unchecked bool
}

// Records is what one line holds.
type Records struct {
	Claims     []schema.Claim
	Deliveries []schema.Delivery        // without their Position
	Transfers  []schema.GatewayTransfer // without their Position
}

// format takes a line apart. holds looks at the line's own fields only; the first that holds is meant.
type format struct {
	name  string
	holds func(r *reader, line object) bool
	read  func(r *reader, line object) ([]record, error)
	last  bool // tried only where nothing else holds, neither for the line nor for what it wraps
}

// known formats in the order in which they are tried.
var known = []format{
	{name: "canonical", holds: isCanonical, read: readCanonical},
	{name: "hook", holds: isHook, read: readHook},
	{name: "capture", holds: isCapture, read: readCapture},
	{name: "access", holds: isPaidAccess, read: readAccess},
	{name: "x402-rs", holds: isX402RS, read: readX402RS},
	{name: "openfacilitator", holds: isOpenFacilitator, read: readOpenFacilitator},
	{name: "circle", holds: isCircle, read: readCircle},
	{name: "flat", holds: isFlat, read: readFlat, last: true},
	{name: "access", holds: isAccess, read: readUnpaidAccess, last: true},
}

// formatCSV is a name only: the header row says which format its rows have.
const formatCSV = "csv"

// Names are the formats that Options.Format may name.
func Names() []string {
	names := make([]string, 0, len(known)+1)
	for _, f := range known {
		if !slices.Contains(names, f.name) {
			names = append(names, f.name)
		}
	}
	return append(names, formatCSV)
}

// Parser reads lines of one source. It keeps no state between lines and may be used by several goroutines.
type Parser struct {
	facilitator string
	bound       bool
	role        schema.Role
	formats     []format
	path        []string
	columns     columns
	domains     map[uint64][]domain
	unchecked   bool
	table       *table // of a CSV file's rows; nil reads JSON
	readers     *sync.Pool
}

// reader is what reading one line needs to have at hand, used again for other lines.
type reader struct {
	*Parser
	scanner
	hashed []byte
	shapes shapes
	single [1]record
	auth   authorization
}

// one is what nearly every line holds: a single record.
func (r *reader) one(rec record) []record {
	r.single[0] = rec
	return r.single[:]
}

// New makes a parser. The error is one sentence about the option.
func New(o Options) (*Parser, error) {
	p := &Parser{facilitator: o.Facilitator, bound: o.Bound, role: o.Role, formats: known, domains: map[uint64][]domain{}, unchecked: o.Unchecked, readers: &sync.Pool{New: func() any { return new(reader) }}}
	switch o.Role {
	case "", schema.RoleFacilitator, schema.RoleServer:
	default:
		return nil, fmt.Errorf("role %q is neither %s nor %s", o.Role, schema.RoleFacilitator, schema.RoleServer)
	}
	if o.Format != "" && !slices.Contains(Names(), o.Format) {
		return nil, fmt.Errorf("format %q is none of %s", o.Format, strings.Join(Names(), ", "))
	}
	if o.Format != "" && o.Format != formatCSV {
		p.formats = slices.DeleteFunc(slices.Clone(known), func(f format) bool { return f.name != o.Format })
	}
	if o.JSONPath != "" {
		p.path = strings.Split(o.JSONPath, ".")
		if slices.Contains(p.path, "") {
			return nil, fmt.Errorf("json_path %q has an empty part; it is field names joined by points", o.JSONPath)
		}
	}
	var err error
	if p.columns, err = newColumns(o.Columns); err != nil {
		return nil, err
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

// Parse reads one line, with or without its newline. A blank line holds nothing and is no error; nor is a request without a payment. A line that
// cannot be used is a *RejectError. The same line always gives the same records.
func (p *Parser) Parse(line []byte) (Records, error) {
	var found Records
	if err := p.Append(&found, string(line)); err != nil {
		return Records{}, err
	}
	return found, nil
}

// Append is Parse for many lines: it adds what a line holds, or nothing with an error, and keeps pieces of the line instead of copies.
func (p *Parser) Append(found *Records, line string) error {
	line = strings.TrimSpace(strings.TrimPrefix(line, byteOrderMark))
	if line == "" {
		return nil
	}
	if len(line) > MaxLine {
		return reject(TooLong, "the line is longer than %d bytes", MaxLine)
	}
	if !utf8.ValidString(line) {
		return reject(NotUTF8, "the line is not UTF-8")
	}
	r := p.readers.Get().(*reader)
	defer p.readers.Put(r)
	r.Parser = p
	r.reset()
	records, err := r.line(line)
	if err != nil {
		return err
	}
	before := *found
	for i := range records {
		if err := r.state(found, &records[i]); err != nil {
			*found = before
			return err
		}
	}
	return nil
}

const byteOrderMark = "\xef\xbb\xbf"

// line takes one line apart.
func (r *reader) line(text string) ([]record, error) {
	if r.table != nil {
		row, err := r.table.row(text)
		if err != nil {
			return nil, err
		}
		return r.read(row, nil)
	}
	if text[0] != '{' {
		if line := tracingText(text); line != nil {
			return r.read(line, nil)
		}
	}
	v, err := r.decode(text)
	if err != nil {
		return nil, err
	}
	line := v.object()
	if line == nil {
		return nil, reject(UnknownShape, "the line is not a JSON object")
	}
	if r.path != nil {
		inner := r.follow(line)
		if inner == nil {
			return nil, reject(UnknownShape, "the line has no object at %s", strings.Join(r.path, "."))
		}
		return r.read(inner, line)
	}
	return r.read(line, nil)
}

// read finds the format of a record and takes it apart; wrapper is the logger's object around it.
func (r *reader) read(line, wrapper object) ([]record, error) {
	f := r.format(line, false)
	if f == nil && wrapper == nil && r.table == nil {
		inner, err := r.unwrap(line)
		if err != nil {
			return nil, err
		}
		if inner != nil {
			line, wrapper = inner, line
			f = r.format(line, false)
		}
	}
	if f == nil {
		f = r.format(line, true)
	}
	if f == nil {
		return nil, reject(UnknownShape, "the object is no settlement record of a known format")
	}
	records, err := f.read(r, line)
	if err != nil {
		return nil, err
	}
	for i := range records {
		records[i].format = f.name
		if err := records[i].wrapped(wrapper); err != nil {
			return nil, err
		}
	}
	return records, nil
}

func (r *reader) format(line object, last bool) *format {
	for i := range r.formats {
		if f := &r.formats[i]; f.last == last && f.holds(r, line) {
			return f
		}
	}
	return nil
}

// decode reads exactly one JSON value.
func (r *reader) decode(text string) (value, error) {
	v, err := r.scan(text)
	switch {
	case errors.Is(err, errEnds):
		return v, reject(Truncated, "the line ends inside its JSON value")
	case err != nil:
		return v, reject(MalformedJSON, "the line is not JSON from byte %d on", r.at)
	}
	return v, nil
}

// ColumnNames are the fields that Options.Columns may name.
func ColumnNames() []string { return slices.Sorted(maps.Keys(aliases)) }
