package match

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"x402audit/schema"
)

// Case is one payment with the evidence that its verdict rests on.
type Case struct {
	Payment      schema.Payment
	Settlement   *schema.Settlement  // canonical; nil when nothing settled
	Transaction  *schema.Transaction // the settlement's, nil until its sender was read
	Cancellation *schema.Cancellation
	Claims       []*Claim    // in the order of time, one a record
	Deliveries   []*Delivery // in the order of time, one a request
	DeliveryLog  bool        // a delivery log of its payTo has moved past its settlement
	Unbacked     Unbacked    // of an offchain payment: why its rail does not bear it out, once it should
	Lead         *Claim      // the claim that the payment is judged by: an agreeing success, else the least differing one, else the first failure
	Known        bool        // the token is followed
}

// Result is everything that Judge has to say.
type Result struct {
	Cases     []Case        // sorted by payment_id
	Links     []schema.Link // in the order of their cases
	Questions []schema.Question
}

// judge holds evidence in the shape in which it is asked for. What lies under payment keys is kept by the number of its key, because a key is too large to
// be looked up again and again.
type judge struct {
	ev            *Evidence
	cfg           *Config
	signers       signers
	payments      numbers[schema.Key]
	settlements   shelf[schema.Settlement]            // canonical, in the order of the chain
	keyed         shelf[Claim]                        // claims that state their key, in no order
	keyless       []*Claim                            // the others, in the order of time
	tied          map[int32][]*Claim                  // keyless claims by the payment that the ladder tied them to
	rungs         map[*Claim]schema.Rung              // of keyless claims
	candidates    map[schema.Key]bool                 // keys that share an undecided claim
	awaits        map[schema.Key]int64                // keys that a claim may still be tied to or from, until the final block has this time
	dead          map[schema.Key][]*schema.Settlement // in blocks that are canonical no more
	cancellations map[schema.Key]*schema.Cancellation
	deliveries    map[int32][]*Delivery                 // in the order of time
	inTransaction map[place][]*schema.Settlement        // of the transactions that are named by records without a key and by claims without a settlement
	calls         numbers[place]                        // transactions whose receipts are known, or which are named by the records that inTransaction is for
	receipts      []*schema.Transaction                 // by their number, nil where they are not known
	sent          []*schema.Transaction                 // receipts of the settlements, in their order on the shelf
	invalidations map[schema.Key][]*schema.Cancellation // of Permit2, by word of nonces
	witnesses     map[schema.Key][]*schema.Witness
	unknownTx     map[place]int64 // time of the latest final block at which a node did not know the transaction
	receiptRead   map[place]bool  // transactions in final blocks whose receipts were asked for
	backing       backing         // of offchain payments
	questions     []schema.Question
}

// Judge gives every payment in the evidence one verdict. Evidence may come in any order, and stays as it is: the result points into it.
func Judge(ev *Evidence, cfg *Config) Result {
	j := &judge{
		ev: ev, cfg: cfg, signers: newSigners(cfg.Facilitators),
		payments:      newNumbers(max(len(ev.Settlements), len(ev.Claims)/2)*17/16, hashKey),
		tied:          map[int32][]*Claim{},
		rungs:         map[*Claim]schema.Rung{},
		candidates:    map[schema.Key]bool{},
		awaits:        map[schema.Key]int64{},
		dead:          map[schema.Key][]*schema.Settlement{},
		cancellations: map[schema.Key]*schema.Cancellation{},
		invalidations: map[schema.Key][]*schema.Cancellation{},
		deliveries:    map[int32][]*Delivery{},
		inTransaction: map[place][]*schema.Settlement{},
		witnesses:     map[schema.Key][]*schema.Witness{},
		unknownTx:     map[place]int64{},
		receiptRead:   map[place]bool{},
		backing:       newBacking(ev),
	}
	j.layOutClaims()
	j.layOutChain()
	j.layOutTransactions()
	j.climb()
	j.deliver()

	// Payments are judged in the order in which evidence came, which is how it lies in memory, and put where their keys belong.
	keys := j.payments.keys
	r := Result{Cases: make([]Case, len(keys)), Links: make([]schema.Link, 0, len(j.keyed.records)+len(j.keyless))}
	foreign := 0
	for n, rank := range ranks(keys) {
		c := &r.Cases[rank]
		if !j.judge(int32(n), c) {
			*c = Case{}
			foreign++
			continue
		}
	}
	if foreign > 0 {
		r.Cases = dense(r.Cases, len(keys)-foreign)
	}
	for i := range r.Cases {
		for _, x := range r.Cases[i].Claims {
			r.Links = append(r.Links, schema.Link{ClaimID: x.ID, Key: r.Cases[i].Payment.Key, Rung: j.rung(x)})
		}
	}
	r.Questions = sortQuestions(j.questions)
	return r
}

// dense leaves out the places of payments that are foreign.
func dense(all []Case, judged int) []Case {
	kept := make([]Case, 0, judged)
	for i := range all {
		if all[i].Payment.Verdict != "" {
			kept = append(kept, all[i])
		}
	}
	return kept
}

// ranks gives each key its place in the order of payment_ids. The first bytes of payer and nonce tell nearly all keys of a token apart, and lie together;
// a second pass over what is nearly sorted looks at the rest.
func ranks(keys []schema.Key) []int32 {
	type spine struct {
		market       int32 // number of chain, token and method
		n            int32
		payer, nonce uint64
	}
	markets := newNumbers(0, hashKey)
	spines := make([]spine, len(keys))
	for i := range keys {
		k := &keys[i]
		spines[i] = spine{
			markets.number(&schema.Key{ChainID: k.ChainID, Token: k.Token, Method: k.Method}), int32(i),
			binary.BigEndian.Uint64(k.Authorizer[:]), binary.BigEndian.Uint64(k.Nonce[:]),
		}
	}
	slices.SortFunc(spines, func(a, b spine) int {
		switch {
		case a.market != b.market:
			return markets.keys[a.market].Compare(markets.keys[b.market])
		case a.payer != b.payer:
			return cmp.Compare(a.payer, b.payer)
		}
		return cmp.Compare(a.nonce, b.nonce)
	})
	slices.SortFunc(spines, func(a, b spine) int {
		if a.market == b.market && a.payer != b.payer {
			return cmp.Compare(a.payer, b.payer)
		}
		return keys[a.n].Compare(keys[b.n])
	})
	rank := make([]int32, len(spines))
	for i := range spines {
		rank[spines[i].n] = int32(i)
	}
	return rank
}

// layOutClaims puts claims that state their key to their payments, and the others into the order of time.
func (j *judge) layOutClaims() {
	keyed := make([]*Claim, 0, len(j.ev.Claims))
	of := make([]int32, 0, len(j.ev.Claims))
	for i := range j.ev.Claims {
		c := &j.ev.Claims[i]
		if _, followed := j.cfg.Chains[c.Key.ChainID]; !followed {
			continue // kept and counted as not audited, not judged
		}
		if c.Keyed {
			keyed, of = append(keyed, c), append(of, j.payments.number(&c.Key))
		} else {
			j.keyless = append(j.keyless, c)
		}
	}
	j.keyed = newShelf(len(j.payments.keys), of, keyed)
	j.keyless = inTime(j.keyless)
}

// layOutChain indexes what the chain says. What lies in a block that is not known to be canonical counts for nothing; a settlement whose block is known to
// be dead is an orphan.
func (j *judge) layOutChain() {
	canonical := make([]*schema.Settlement, 0, len(j.ev.Settlements))
	for i := range j.ev.Settlements {
		s := &j.ev.Settlements[i]
		switch isCanonical, known := j.ev.Canonical[s.BlockHash]; {
		case isCanonical:
			canonical = append(canonical, s)
		case known:
			j.dead[s.Key()] = append(j.dead[s.Key()], s)
		}
	}
	canonical = append(canonical, j.plainPayments(canonical)...)
	of := make([]int32, len(canonical))
	for i, s := range canonical {
		k := s.Key()
		of[i] = j.payments.number(&k)
	}
	j.settlements = newShelf(len(j.payments.keys), of, canonical)
	for n := range j.settlements.ends {
		if ss := j.settlements.at(int32(n)); len(ss) > 1 {
			slices.SortFunc(ss, byLog)
		}
	}
	for k := range j.dead {
		j.payments.number(&k)
	}
	for i := range j.ev.Cancellations {
		if c := &j.ev.Cancellations[i]; j.ev.Canonical[c.BlockHash] {
			if c.Method == schema.MethodPermit2 {
				j.invalidations[c.Key()] = append(j.invalidations[c.Key()], c)
			} else if was := j.cancellations[c.Key()]; was == nil || c.BlockNumber < was.BlockNumber {
				j.cancellations[c.Key()] = c
			}
		}
	}
	for i := range j.ev.Witnesses {
		w := &j.ev.Witnesses[i]
		switch w.Kind {
		case schema.WitnessAuthorization, schema.WitnessPermit2Nonce:
			j.witnesses[w.Key()] = append(j.witnesses[w.Key()], w)
		case schema.WitnessReceipt:
			p := place{w.ChainID, w.Transaction}
			switch w.Answer {
			case schema.AnswerUnknown:
				j.unknownTx[p] = max(j.unknownTx[p], w.BlockTime)
			case schema.AnswerFound:
				j.receiptRead[p] = true
			}
		}
	}
}

// layOutTransactions finds out what is known of transactions. Settlements are listed by transaction only where some claim or delivery will ask for them.
func (j *judge) layOutTransactions() {
	room := len(j.ev.Transactions) + len(j.keyless) + len(j.ev.Transactions)/16
	j.calls, j.receipts = newNumbers(room, hashPlace), make([]*schema.Transaction, 0, room)
	for i := range j.ev.Transactions {
		t := &j.ev.Transactions[i]
		canonical, known := j.ev.Canonical[t.BlockHash]
		if canonical || !known && t.BlockNumber <= j.ev.AsOf.Heads[t.ChainID].Final.Number {
			j.receipts[j.called(place{t.ChainID, t.Hash})] = t
		}
	}
	named := make([]bool, len(j.receipts), room)
	name := func(p place) {
		if p.tx == (schema.Hash{}) {
			return
		}
		n := j.called(p)
		if int(n) == len(named) {
			named = append(named, false)
		}
		named[n] = true
	}
	for _, c := range j.keyless {
		name(place{c.Key.ChainID, c.Transaction})
	}
	for n := range j.keyed.ends {
		if len(j.settlements.at(int32(n))) == 0 {
			for _, c := range j.keyed.at(int32(n)) {
				name(place{c.Key.ChainID, c.Transaction})
			}
		}
	}
	for i := range j.ev.Deliveries {
		if d := &j.ev.Deliveries[i]; !d.Keyed {
			name(place{d.Key.ChainID, d.Transaction})
		}
	}
	j.sent = make([]*schema.Transaction, len(j.settlements.records))
	for i, s := range j.settlements.records {
		p := place{s.ChainID, s.Transaction}
		if n, met := j.calls.find(&p); met {
			j.sent[i] = j.receipts[n]
			if named[n] {
				j.inTransaction[p] = append(j.inTransaction[p], s)
			}
		}
	}
	for _, ss := range j.inTransaction {
		slices.SortFunc(ss, byLog)
	}
}

// called is the number of a transaction.
func (j *judge) called(p place) int32 {
	n := j.calls.number(&p)
	if int(n) == len(j.receipts) {
		j.receipts = append(j.receipts, nil)
	}
	return n
}

// claims lists what was said of a payment, one claim a record, in the order of time.
func (j *judge) claims(n int32) []*Claim {
	all := oneRecord(j.keyed.at(n))
	if more := j.tied[n]; len(more) > 0 {
		all = append(all, more...) // a copy: its place on the shelf is full
		slices.SortFunc(all, byTime)
	}
	return all
}

// rung says how a claim came to its payment.
func (j *judge) rung(c *Claim) schema.Rung {
	if c.Keyed {
		return schema.RungKey
	}
	return j.rungs[c]
}

// transaction is the canonical transaction of that hash, nil where it was not read.
func (j *judge) transaction(p place) *schema.Transaction {
	if n, read := j.calls.find(&p); read {
		return j.receipts[n]
	}
	return nil
}

// ask notes a question for a node.
func (j *judge) ask(q schema.Question) { j.questions = append(j.questions, q) }

// sortQuestions puts questions in order, each once.
func sortQuestions(qs []schema.Question) []schema.Question {
	slices.SortFunc(qs, func(a, b schema.Question) int {
		return cmp.Or(cmp.Compare(a.ChainID, b.ChainID), cmp.Compare(a.Kind, b.Kind), bytes.Compare(a.Authorizer[:], b.Authorizer[:]),
			bytes.Compare(a.Nonce[:], b.Nonce[:]), bytes.Compare(a.Transaction[:], b.Transaction[:]), cmp.Compare(a.NotBefore, b.NotBefore),
			bytes.Compare(a.Token[:], b.Token[:]))
	})
	return slices.Compact(qs)
}

// askReceipt asks what became of a transaction; a node that does not know it counts from notBefore on.
func (j *judge) askReceipt(chain uint64, tx schema.Hash, notBefore int64) {
	p := place{chain, tx}
	at, unknown := j.unknownTx[p]
	if tx != (schema.Hash{}) && j.transaction(p) == nil && (!unknown || at < notBefore) {
		j.ask(schema.Question{ChainID: chain, Kind: schema.WitnessReceipt, Transaction: tx, NotBefore: notBefore})
	}
}
