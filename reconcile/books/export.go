package books

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema"
)

// Format is how an export or a report is written.
type Format string

const (
	JSONL Format = "jsonl"
	JSON  Format = "json"
	CSV   Format = "csv"
	Table Format = "table"
)

// Line is one payment as the export shows it, and a leaf of a close. Its fields, their names and their order are API, and leaves that were closed keep theirs: a rail's own columns (channel,
// backed) stand in the table payments and in `explain` alone. A pointer is null when the value is unknown or there is none.
type Line struct {
	PaymentID          string        `json:"payment_id"`
	ChainID            uint64        `json:"chain_id"`
	Token              string        `json:"token"`
	Decimals           uint8         `json:"decimals"`
	Method             string        `json:"method"`
	Scheme             *string       `json:"scheme"`
	Kind               string        `json:"kind"`
	Authorizer         string        `json:"authorizer"`
	Nonce              string        `json:"nonce"`
	Verdict            string        `json:"verdict"`
	Detail             *string       `json:"detail"`
	Finality           string        `json:"finality"`
	Findings           []string      `json:"findings"`
	Match              *string       `json:"match"`
	PayTo              *string       `json:"pay_to"`
	Gross              schema.Amount `json:"gross"`
	Net                schema.Amount `json:"net"`
	Fee                schema.Amount `json:"fee"`
	Refunded           schema.Amount `json:"refunded"`
	SettledAmount      schema.Amount `json:"settled_amount"`
	ClaimedAmount      schema.Amount `json:"claimed_amount"`
	RequiredAmount     schema.Amount `json:"required_amount"`
	Resource           string        `json:"resource"`
	ResourceProvenance *string       `json:"resource_provenance"`
	Facilitator        *string       `json:"facilitator"`
	Settler            *string       `json:"settler"`
	Delivered          *string       `json:"delivered"` // null where no delivery log says
	ErrorClass         *string       `json:"error_class"`
	Transaction        *string       `json:"transaction"`
	BlockNumber        *uint64       `json:"block_number"`
	LogIndex           *uint32       `json:"log_index"`
	ClaimTransaction   *string       `json:"claim_transaction"`
	Claims             uint32        `json:"claims"`
	FirstSeen          *string       `json:"first_seen"`
	SettledAt          *string       `json:"settled_at"`
	RuleVersion        uint32        `json:"rule_version"`
	Resolution         *string       `json:"resolution"` // the one in force, once as many persons signed as it takes
	FacilitatorBy      *string       `json:"facilitator_by"`
	ExceptionAge       *int64        `json:"exception_age_seconds"` // of an open exception, up to the chain's final block
}

var paymentColumns = []string{
	"payment_id", "chain_id", "token", "decimals", "method", "scheme", "kind", "authorizer", "nonce", "verdict", "detail", "finality",
	"findings", "match", "pay_to", "gross", "net", "fee", "refunded", "settled_amount", "claimed_amount", "required_amount", "resource",
	"resource_provenance", "facilitator", "settler", "delivered", "error_class", "transaction", "block_number", "log_index",
	"claim_transaction", "claims", "first_seen", "settled_at", "rule_version", "resolution", "facilitator_by", "exception_age_seconds",
}

func exportOf(p *schema.Payment) Line {
	e := Line{
		PaymentID: p.Key.ID(), ChainID: p.Key.ChainID, Token: schema.Hex(p.Key.Token[:]), Decimals: p.Decimals, Method: string(p.Key.Method),
		Scheme: orNull(p.Scheme), Kind: string(p.Kind), Authorizer: schema.Hex(p.Key.Authorizer[:]), Nonce: schema.Hex(p.Key.Nonce[:]),
		Verdict: string(p.Verdict), Detail: orNull(p.Detail), Finality: string(p.Finality), Findings: append([]string{}, p.Findings...), Match: orNull(p.Match),
		PayTo: address(p.PayTo), Gross: p.Gross, Net: p.Net, Fee: p.Fee, Refunded: p.Refunded,
		SettledAmount: p.Gross, ClaimedAmount: p.Claimed, RequiredAmount: p.Required,
		Resource: resourceOf(p), ResourceProvenance: orNull(p.ResourceProvenance), Facilitator: orNull(p.Facilitator), Settler: address(p.Settler), Delivered: orNull(p.Delivered),
		ErrorClass: orNull(p.ErrorClass), ClaimTransaction: hash(p.ClaimTransaction), Claims: p.Claims, FirstSeen: milliseconds(p.FirstSeen), RuleVersion: p.RuleVersion,
		FacilitatorBy: orNull(p.FacilitatorBy),
	}
	if p.Settled() {
		number, index := p.BlockNumber, p.LogIndex // the line may outlive the row, which is reused
		e.Transaction, e.BlockNumber, e.LogIndex, e.SettledAt = hash(p.Transaction), &number, &index, seconds(p.SettledAt)
	}
	return e
}

// unattributed is a resource like any other: what nobody attributed is never dropped.
const unattributed = "unattributed"

func resourceOf(p *schema.Payment) string { return cmp.Or(p.Resource, unattributed) }

func (e *Line) cells() []string {
	return []string{
		e.PaymentID, fmt.Sprint(e.ChainID), e.Token, fmt.Sprint(e.Decimals), e.Method, cell(e.Scheme), e.Kind, e.Authorizer, e.Nonce, e.Verdict, cell(e.Detail),
		e.Finality, strings.Join(e.Findings, ";"), cell(e.Match), cell(e.PayTo), e.Gross.String(), e.Net.String(), e.Fee.String(), e.Refunded.String(),
		e.SettledAmount.String(), e.ClaimedAmount.String(), e.RequiredAmount.String(), e.Resource, cell(e.ResourceProvenance), cell(e.Facilitator),
		cell(e.Settler), cell(e.Delivered), cell(e.ErrorClass), cell(e.Transaction), cell(e.BlockNumber), cell(e.LogIndex), cell(e.ClaimTransaction),
		fmt.Sprint(e.Claims), cell(e.FirstSeen), cell(e.SettledAt), fmt.Sprint(e.RuleVersion), cell(e.Resolution), cell(e.FacilitatorBy), cell(e.ExceptionAge),
	}
}

// exportedFinding is one finding as the export shows it.
type exportedFinding struct {
	PaymentID   string        `json:"payment_id"`
	Rule        string        `json:"rule"`
	Detail      *string       `json:"detail"`
	Severity    string        `json:"severity"`
	Other       *string       `json:"other"`
	AtRisk      schema.Amount `json:"at_risk"`
	Evidence    string        `json:"evidence"`
	ChainID     uint64        `json:"chain_id"`
	Token       string        `json:"token"`
	Decimals    uint8         `json:"decimals"`
	Authorizer  string        `json:"authorizer"`
	Nonce       string        `json:"nonce"`
	Facilitator *string       `json:"facilitator"`
	Resource    string        `json:"resource"`
}

var findingColumns = []string{
	"payment_id", "rule", "detail", "severity", "other", "at_risk", "evidence", "chain_id", "token", "decimals", "authorizer", "nonce", "facilitator", "resource",
}

func (e *exportedFinding) cells() []string {
	return []string{
		e.PaymentID, e.Rule, cell(e.Detail), e.Severity, cell(e.Other), e.AtRisk.String(), e.Evidence, fmt.Sprint(e.ChainID), e.Token, fmt.Sprint(e.Decimals),
		e.Authorizer, e.Nonce, cell(e.Facilitator), e.Resource,
	}
}

// ExportPayments writes every payment, sorted by payment_id, as JSONL or CSV, and answers how many and as of which point.
func (b *Books) ExportPayments(ctx context.Context, w io.Writer, format Format) (n uint64, asOf *AsOf, err error) {
	return b.export(ctx, w, format, paymentColumns, func(ctx context.Context, out *sheet) error {
		return b.lines(ctx, "FINAL ORDER BY payment_id", nil, func(l *Line) error { return out.row(l, l.cells) })
	})
}

// age is how long a payment has been an exception by a time of its chain, in seconds: since its settlement or, where nothing settled, since its earliest evidence. Nil where
// nothing says when that was.
func age(p *schema.Payment, at int64) *int64 {
	since := cmp.Or(p.SettledAt, p.FirstSeen/1000)
	if since == 0 {
		return nil
	}
	old := max(0, at-since)
	return &old
}

// canceledAndClaimed are the cancelled payments of which some claim says success: only they are exceptions.
func (b *Books) canceledAndClaimed(ctx context.Context) (map[schema.Key]bool, error) {
	claimed := map[schema.Key]bool{}
	err := b.each(ctx, "SELECT DISTINCT chain_id, token, toString(method), authorizer, nonce FROM claims FINAL"+
		" WHERE outcome = 'success' AND pid IN (SELECT pid FROM payments WHERE verdict = 'canceled')", nil, func(scan func(...any) error) error {
		var k schema.Key
		var method string
		err := scan(&k.ChainID, &k.Token, &method, &k.Authorizer, &k.Nonce)
		k.Method = schema.Method(method)
		claimed[k] = true
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading claims of cancelled payments: %w", err)
	}
	return claimed, nil
}

// ExportFindings writes every finding, sorted by payment_id, rule and what else it is about, as JSONL or CSV.
func (b *Books) ExportFindings(ctx context.Context, w io.Writer, format Format) (n uint64, asOf *AsOf, err error) {
	return b.export(ctx, w, format, findingColumns, b.eachFinding)
}

var findingsQuery = `
SELECT f.chain_id, f.token, f.method, f.authorizer, f.nonce, f.rule, f.detail, f.severity, f.other, f.at_risk, f.evidence, p.decimals, p.facilitator, p.resource,
       greatest(` + fmt.Sprintf(evidenceOf, "f.version") + ", " + fmt.Sprintf(evidenceOf, "p.version") + `)
FROM findings AS f FINAL LEFT JOIN payments AS p FINAL USING (pid, chain_id, token, method, authorizer, nonce)
ORDER BY concat(toString(chain_id), ':0x', lower(hex(token)), ':', method, ':0x', lower(hex(authorizer)), ':0x', lower(hex(nonce))), f.rule, f.other`

func (b *Books) eachFinding(ctx context.Context, out *sheet) error {
	err := b.each(ctx, findingsQuery, nil, func(scan func(...any) error) error {
		var k schema.Key
		var method, detail, other, facilitator string
		var atRisk *big.Int
		var evidence uint64
		var e exportedFinding
		if err := scan(&k.ChainID, &k.Token, &method, &k.Authorizer, &k.Nonce, &e.Rule, &detail, &e.Severity, &other, &atRisk, &e.Evidence, &e.Decimals,
			&facilitator, &e.Resource, &evidence); err != nil {
			return err
		}
		k.Method = schema.Method(method)
		e.PaymentID, e.ChainID, e.Token, e.Authorizer, e.Nonce = k.ID(), k.ChainID, schema.Hex(k.Token[:]), schema.Hex(k.Authorizer[:]), schema.Hex(k.Nonce[:])
		e.Detail, e.Other, e.Facilitator, e.AtRisk = orNull(detail), orNull(other), orNull(facilitator), amountOf(atRisk)
		e.Resource = cmp.Or(e.Resource, unattributed)
		return errors.Join(upTo(ctx, evidence), out.row(&e, e.cells))
	})
	if err != nil {
		return fmt.Errorf("reading findings: %w", err)
	}
	return nil
}

// export reads between two sweeps. What is read goes to a file first: where it turns out to be of an unfinished sweep it is read again, and
// nothing of it was written yet.
func (b *Books) export(ctx context.Context, w io.Writer, format Format, columns []string, each func(context.Context, *sheet) error) (n uint64, asOf *AsOf, err error) {
	spool, err := os.CreateTemp("", "x402audit-export-*")
	if err != nil {
		return 0, nil, fmt.Errorf("exporting: %w", err)
	}
	defer func() { _ = spool.Close(); _ = os.Remove(spool.Name()) }()

	asOf, err = b.between(ctx, func(ctx context.Context) error {
		if err := spool.Truncate(0); err != nil {
			return err
		}
		if _, err := spool.Seek(0, io.SeekStart); err != nil {
			return err
		}
		buffered := bufio.NewWriterSize(spool, 1<<20)
		out, err := newSheet(buffered, format, columns)
		if err != nil {
			return err
		}
		if err := each(ctx, out); err != nil {
			return err
		}
		n = out.rows
		return out.flush(buffered)
	})
	if err != nil {
		return 0, nil, err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return 0, nil, fmt.Errorf("exporting: %w", err)
	}
	if _, err := io.Copy(w, spool); err != nil {
		return 0, nil, fmt.Errorf("exporting: %w", err)
	}
	return n, asOf, nil
}

// sheet writes rows as JSONL or CSV.
type sheet struct {
	rows uint64
	json *json.Encoder
	csv  *csv.Writer
}

func newSheet(w io.Writer, format Format, columns []string) (*sheet, error) {
	switch format {
	case JSONL:
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return &sheet{json: e}, nil
	case CSV:
		c := NewCSV(w)
		return &sheet{csv: c}, c.Write(columns)
	}
	return nil, fmt.Errorf("an export is written as %s or %s, not as %s", JSONL, CSV, format)
}

func (s *sheet) row(object any, cells func() []string) error {
	s.rows++
	if s.json != nil {
		return s.json.Encode(object)
	}
	return s.csv.Write(Guarded(cells()))
}

func (s *sheet) flush(w *bufio.Writer) error {
	if s.csv != nil {
		s.csv.Flush()
		if err := s.csv.Error(); err != nil {
			return err
		}
	}
	return w.Flush()
}

// NewCSV writes RFC 4180.
func NewCSV(w io.Writer) *csv.Writer {
	c := csv.NewWriter(w)
	c.UseCRLF = true
	return c
}

// Guarded keeps a spreadsheet from running a cell as a formula: URLs and names are the payer's to choose.
func Guarded(cells []string) []string {
	for i, c := range cells {
		if c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
			cells[i] = "'" + c
		}
	}
	return cells
}

func cell[T any](v *T) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(*v)
}

func orNull[T ~string](s T) *string {
	if s == "" {
		return nil
	}
	t := string(s)
	return &t
}

func address(a schema.Address) *string {
	if a == (schema.Address{}) {
		return nil
	}
	return orNull(schema.Hex(a[:]))
}

func hash(h schema.Hash) *string {
	if h == (schema.Hash{}) {
		return nil
	}
	return orNull(schema.Hex(h[:]))
}

// seconds and milliseconds write Unix times as RFC 3339 in UTC; 0 is unknown.
func seconds(at int64) *string {
	if at == 0 {
		return nil
	}
	return orNull(time.Unix(at, 0).UTC().Format(time.RFC3339))
}

func milliseconds(at int64) *string {
	if at == 0 {
		return nil
	}
	return orNull(time.UnixMilli(at).UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}

func withParams(ctx context.Context, p clickhouse.Parameters) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithParameters(p))
}
