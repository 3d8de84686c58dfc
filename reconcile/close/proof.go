package close

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema"
)

// ProofFormat is what a proof calls its form.
const ProofFormat = "x402audit/proof/1"

// Proof shows that a line is a leaf of a close. It is checked with the close's manifest alone: the line hashes to a leaf, and with the hashes of the path, from the leaf up, to the root in the manifest.
// On which side each hash stands follows from the leaf's place and from how many leaves there are (RFC 9162, section 2.1.3.2).
type Proof struct {
	Format    string   `json:"format"`
	Close     string   `json:"close"` // id of the manifest
	Merchant  string   `json:"merchant"`
	Number    uint32   `json:"number"`
	Tree      string   `json:"tree"` // payments or adjustments
	PaymentID string   `json:"payment_id"`
	Place     uint64   `json:"place"` // of the leaf, from 0
	Leaves    uint64   `json:"leaves"`
	Root      string   `json:"root"`
	Path      []string `json:"path"`
	Line      string   `json:"line"` // the leaf's bytes
}

// Trees of a close.
const (
	TreePayments    = "payments"
	TreeAdjustments = "adjustments"
)

// ErrNotClosed says that no close in force holds a payment.
var ErrNotClosed = errors.New("no close in force holds the payment")

// Prove finds the close in force that holds a payment, or was first told of it by an adjustment, and shows the path from its line to the root. With a close it is that one's word on the payment, which
// may be an adjustment or have been taken back.
func (d *Desk) Prove(ctx context.Context, paymentID, close string) (*Proof, error) {
	k, err := schema.ParseKey(paymentID)
	if err != nil {
		return nil, err
	}
	var closes []*Record
	if close != "" {
		r, _, err := d.Find(ctx, close)
		if err != nil {
			return nil, err
		}
		if r.Manifest == nil {
			return nil, fmt.Errorf("%s is a reopening: it holds no payments", r.Name())
		}
		closes = []*Record{r}
	} else {
		chains, err := d.Chains(ctx)
		if err != nil {
			return nil, err
		}
		for _, c := range chains {
			closes = append(closes, c.InForce()...)
		}
	}
	for _, tree := range []string{TreePayments, TreeAdjustments} {
		for _, r := range closes {
			t, table := r.tree(tree)
			p, err := d.prove(ctx, table, t, k)
			if err != nil || p != nil {
				if p != nil {
					p.Close, p.Merchant, p.Number, p.Tree = schema.Hex(r.ID[:]), r.Merchant, r.Number, tree
				}
				return p, err
			}
		}
	}
	return nil, fmt.Errorf("%w %s", ErrNotClosed, k.ID())
}

// tree is one of a close's trees, and where its lines are.
func (r *Record) tree(name string) (Tree, schema.Table[schema.ClosedLine]) {
	if name == TreeAdjustments {
		return r.Manifest.Adjustments, schema.ClosedAdjustments
	}
	return r.Manifest.Payments, schema.ClosedPayments
}

// prove is nil where the tree does not hold the payment.
func (d *Desk) prove(ctx context.Context, table schema.Table[schema.ClosedLine], t Tree, k schema.Key) (*Proof, error) {
	if t.Leaves == 0 {
		return nil, nil
	}
	found, err := table.Select(ctx, d.store, "FINAL WHERE root = unhex({root:String}) AND pid = {pid:UInt64}",
		clickhouse.Parameters{"root": strings.TrimPrefix(t.Root, "0x"), "pid": fmt.Sprint(k.PID())})
	if err != nil {
		return nil, err
	}
	for i := range found {
		if found[i].Key != k {
			continue
		}
		p := &Proof{Format: ProofFormat, PaymentID: k.ID(), Place: found[i].Place, Leaves: t.Leaves, Root: t.Root, Line: found[i].Line}
		var leaves []schema.Hash
		if err := d.eachLine(ctx, table, t, func(line []byte) error {
			leaves = append(leaves, leafHash(line))
			return nil
		}); err != nil {
			return nil, err
		}
		path, root := pathOf(leaves, p.Place)
		if uint64(len(leaves)) != t.Leaves || schema.Hex(root[:]) != t.Root {
			return nil, fmt.Errorf("%w: the stored lines do not make the root %s: `x402audit verify --closes` says more", ErrChain, t.Root)
		}
		p.Path = path
		return p, nil
	}
	return nil, nil
}

// pathOf are the hashes that a leaf is hashed with on its way to the root, level by level. A node that goes up as it is meets none.
func pathOf(nodes []schema.Hash, place uint64) (path []string, root schema.Hash) {
	path = []string{}
	for len(nodes) > 1 {
		if beside := place ^ 1; beside < uint64(len(nodes)) {
			path = append(path, schema.Hex(nodes[beside][:]))
		}
		up := nodes[:0]
		for i := 0; i < len(nodes); i += 2 {
			if i+1 == len(nodes) {
				up = append(up, nodes[i])
			} else {
				up = append(up, nodeHash(nodes[i], nodes[i+1]))
			}
		}
		nodes, place = up, place/2
	}
	return path, nodes[0]
}
