package books

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema"
)

// Found is one payment as a look-up answers it: the row of the export, and what somebody who is about to serve wants to know beside it. Its fields are API.
type Found struct {
	Line
	Settled bool     `json:"settled"` // money moved on chain under this payment's key
	Grants  Grants   `json:"grants"`
	Remarks []Remark `json:"remarks"` // the findings, each with its reason
}

// Grants counts what evidence says was given for a payment, by records that name its key. It is evidence as it is now, also what is not judged yet.
type Grants struct {
	Successes  uint64 `json:"successes"`  // claims of success, each once
	Deliveries uint64 `json:"deliveries"` // requests that were answered with a status of 2xx, each once
}

// Remark is a finding.
type Remark struct {
	Rule     string        `json:"rule"`
	Detail   *string       `json:"detail"`
	Severity string        `json:"severity"`
	Other    *string       `json:"other"`
	AtRisk   schema.Amount `json:"at_risk"`
	Evidence string        `json:"evidence"`
}

// Point is the as-of point of an answer.
type Point struct {
	Seq    uint64       `json:"seq"` // batches of evidence that were judged
	Chains []ChainPoint `json:"chains"`
}

func pointOf(a *AsOf) Point { return Point{a.Evidence, a.Chains} }

// Payment answers one payment; it is nil where the books have none of this key, of which evidence can be there already.
func (b *Books) Payment(ctx context.Context, k schema.Key) (found *Found, g Grants, at Point, err error) {
	where, p := "pid = {pid:UInt64}", params("pid", k.PID())
	asOf, err := b.betweenIn(ctx, where, p, func(ctx context.Context) error {
		found = nil
		all, err := b.found(ctx, where, p)
		for i := range all {
			if all[i].PaymentID == k.ID() {
				found = &all[i]
			}
		}
		return err
	})
	if err != nil {
		return nil, g, at, err
	}
	if found == nil {
		grants, err := b.grants(ctx, []string{strconv.FormatUint(k.PID(), 10)})
		return nil, grants[k], pointOf(asOf), err
	}
	return found, found.Grants, pointOf(asOf), nil
}

// Selection says which payments of one payer are asked for. What is zero selects nothing out.
type Selection struct {
	Authorizer schema.Address
	ChainID    uint64
	Token      schema.Address
	Since      time.Time // of payments whose latest known time is earlier nothing is answered
	Limit      int
	Page       string // what the page before said comes next
}

// Page is some of the payments that were asked for, in the order of payment_id.
type Page struct {
	Payments []Found `json:"payments"`
	Next     *string `json:"next"` // null on the last page
	AsOf     Point   `json:"as_of"`
}

// PaymentsOf answers the payments of one payer, a page at a time. Each page holds as of a point of its own.
func (b *Books) PaymentsOf(ctx context.Context, q Selection) (*Page, error) {
	after, err := base64.RawURLEncoding.DecodeString(q.Page)
	if err != nil {
		return nil, fmt.Errorf("page: %w", errNoPage)
	}
	if _, err := schema.ParseKey(string(after)); err != nil && q.Page != "" {
		return nil, fmt.Errorf("page: %w", errNoPage)
	}
	p := params("authorizer", hex.EncodeToString(q.Authorizer[:]), "after", string(after), "limit", q.Limit+1)
	payer := "authorizer = unhex({authorizer:String})"
	where := []string{payer, "pid IN (SELECT pid FROM payments WHERE " + payer + ")", "payment_id > {after:String}"}
	if q.ChainID != 0 {
		p["chain"] = strconv.FormatUint(q.ChainID, 10)
		where = append(where, "chain_id = {chain:UInt64}")
	}
	if q.Token != (schema.Address{}) {
		p["token"] = hex.EncodeToString(q.Token[:])
		where = append(where, "token = unhex({token:String})")
	}
	if !q.Since.IsZero() {
		p["since"] = strconv.FormatInt(q.Since.UnixMilli(), 10)
		where = append(where, "greatest(first_seen, toDateTime64(settled_at, 3, 'UTC')) >= fromUnixTimestamp64Milli({since:Int64})")
	}
	page := &Page{}
	asOf, err := b.betweenIn(ctx, payer, params("authorizer", p["authorizer"]), func(ctx context.Context) (err error) {
		page.Payments, err = b.found(ctx, strings.Join(where, " AND ")+" ORDER BY payment_id LIMIT {limit:UInt64}", p)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(page.Payments) > q.Limit {
		page.Payments = page.Payments[:q.Limit]
		next := base64.RawURLEncoding.EncodeToString([]byte(page.Payments[q.Limit-1].PaymentID))
		page.Next = &next
	}
	page.AsOf = pointOf(asOf)
	return page, nil
}

// found reads payments with their findings and grants.
func (b *Books) found(ctx context.Context, where string, p clickhouse.Parameters) ([]Found, error) {
	all := []Found{}
	var keys []schema.Key
	var pids []string
	err := schema.Payments.Each(ctx, b.store, "FINAL WHERE "+where, p, func(p *schema.Payment) error {
		all = append(all, Found{Line: exportOf(p), Settled: p.Settled(), Remarks: []Remark{}})
		keys, pids = append(keys, p.Key), append(pids, strconv.FormatUint(p.Key.PID(), 10))
		return upTo(ctx, p.Version.Evidence)
	})
	if err != nil || len(all) == 0 {
		return all, err
	}
	grants, err := b.grants(ctx, pids)
	if err != nil {
		return nil, err
	}
	remarks := map[schema.Key][]Remark{}
	rest, with := "FINAL WHERE pid IN {pids:Array(UInt64)} ORDER BY rule, other", params("pids", "["+strings.Join(pids, ",")+"]")
	err = schema.Findings.Each(ctx, b.store, rest, with, func(f *schema.Finding) error {
		remarks[f.Key] = append(remarks[f.Key], Remark{f.Rule, orNull(f.Detail), string(f.Severity), orNull(f.Other), f.AtRisk, f.Evidence})
		return upTo(ctx, f.Version.Evidence)
	})
	for i, k := range keys {
		all[i].Grants = grants[k]
		all[i].Remarks = append(all[i].Remarks, remarks[k]...)
		for _, r := range remarks[k] { // those of the rules over windows are not in the payment's own row
			all[i].Findings = withRules(all[i].Findings, []string{r.Rule})
		}
	}
	return all, err
}

// grants counts what was given.
func (b *Books) grants(ctx context.Context, pids []string) (map[schema.Key]Grants, error) {
	const key = "chain_id, token, method, authorizer, nonce"
	found := map[schema.Key]Grants{}
	for _, q := range []struct {
		sql string
		of  func(*Grants) *uint64
	}{
		{"uniqExact(claim_id) FROM claims WHERE outcome = 'success'", func(g *Grants) *uint64 { return &g.Successes }},
		{"uniqExact(delivery_id) FROM deliveries WHERE status BETWEEN 200 AND 299", func(g *Grants) *uint64 { return &g.Deliveries }},
	} {
		sql := "SELECT " + key + ", " + q.sql + " AND pid IN {pids:Array(UInt64)} GROUP BY " + key
		err := b.each(ctx, sql, params("pids", "["+strings.Join(pids, ",")+"]"), func(scan func(...any) error) error {
			var k schema.Key
			var method string
			var n uint64
			if err := scan(&k.ChainID, &k.Token, &method, &k.Authorizer, &k.Nonce, &n); err != nil {
				return err
			}
			k.Method = schema.Method(method)
			g := found[k]
			*q.of(&g) = n
			found[k] = g
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("counting grants: %w", err)
		}
	}
	return found, nil
}
