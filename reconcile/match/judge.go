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
	Cases     []Case // sorted by payment_id
	Questions []schema.Question

	rungs map[*Claim]schema.Rung
}

// Links says of all claims of some of the cases how they came to their payments.
func (r *Result) Links(cases []Case) []schema.Link {
	claims := 0
	for i := range cases {
		claims += len(cases[i].Claims)
	}
	links := make([]schema.Link, 0, claims)
	for i := range cases {
		for _, x := range cases[i].Claims {
			links = append(links, schema.Link{ClaimID: x.ID, Key: cases[i].Payment.Key, Rung: rung(r.rungs, x)})
		}
	}
	return links
}

// Arena is memory that judging uses again, so that it does not grow with what is judged one part after another.
type Arena struct {
	cases       []Case
	payments    numbers[schema.Key]
	keyed       shelf[Claim]             // claims that state their key, in no order
	settlements shelf[schema.Settlement] // canonical, in the order of the chain
	calls       numbers[place]           // transactions whose receipts are known, or which are named by the records that inTransaction is for
	receipts    []*schema.Transaction    // by their number, nil where they are not known
	named       []bool                   // by their number: some record names them
	sent        []*schema.Transaction    // receipts of the settlements, in their order on the shelf
	stances     []stance                 // of the claims of the payment that is judged
	spines      []spine
	rank        []int32

	// On their way to the shelves, with the numbers of their payments.
	stated    []*Claim
	canonical []*schema.Settlement
	of        []int32
}

// judge holds evidence in the shape in which it is asked for. What lies under payment keys is kept by the number of its key, because a key is too large to
// be looked up again and again.
type judge struct {
	*Arena
	ev            *Evidence
	cfg           *Config
	signers       signers
	grounds       map[uint64]*ground
	last          *ground                             // the chain that was asked for last
	keyless       []*Claim                            // claims that do not state their key, in the order of time
	tied          map[int32][]*Claim                  // keyless claims by the payment that the ladder tied them to
	rungs         map[*Claim]schema.Rung              // of keyless claims
	candidates    map[schema.Key]bool                 // keys that share an undecided claim
	awaits        map[schema.Key]int64                // keys that a claim may still be tied to or from, until the final block has this time
	dead          map[schema.Key][]*schema.Settlement // in blocks that are canonical no more
	cancellations map[schema.Key]*schema.Cancellation
	deliveries    map[int32][]*Delivery                 // in the order of time
	inTransaction map[place][]*schema.Settlement        // of the transactions that are named by records without a key and by claims without a settlement
	invalidations map[schema.Key][]*schema.Cancellation // of Permit2, by word of nonces
	witnesses     map[schema.Key][]*schema.Witness
	unknownTx     map[place]int64 // time of the latest final block at which a node did not know the transaction
	receiptRead   map[place]bool  // transactions in final blocks whose receipts were asked for
	backing       backing         // of offchain payments
	questions     []schema.Question
	looked        uint64 // of what was read ahead, so that it is read
}

// Judge gives every payment in the evidence one verdict. Evidence may come in any order, and stays as it is: the result points into it.
func Judge(ev *Evidence, cfg *Config) Result { return new(Arena).Judge(ev, cfg) }

// Judge is Judge in the memory of the arena: its cases are good until it judges again.
func (a *Arena) Judge(ev *Evidence, cfg *Config) Result {
	j := &judge{
		Arena: a, ev: ev, cfg: cfg, signers: newSigners(cfg.Facilitators),
		grounds:       map[uint64]*ground{},
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
	j.payments.reset(max(len(ev.Settlements), len(ev.Claims)/2)*17/16, hashKey, sameKey)
	j.layOutClaims()
	j.layOutChain()
	j.layOutTransactions()
	j.climb()
	j.deliver()

	// Payments are judged in the order in which evidence came, which is how it lies in memory, and put where their keys belong.
	keys := j.payments.keys
	j.cases = emptied(j.cases, len(keys))[:len(keys)]
	foreign := 0
	for n, rank := range j.ranks() {
		if n%look == 0 {
			j.ahead(n, min(n+look, len(keys)))
		}
		c := &j.cases[rank]
		*c = Case{}
		if !j.judge(int32(n), c) {
			*c = Case{}
			foreign++
		}
	}
	r := Result{Cases: j.cases, Questions: sortQuestions(j.questions), rungs: j.rungs}
	if foreign > 0 {
		r.Cases = dense(r.Cases)
	}
	return r
}

// look is how many payments judging looks ahead.
const look = 16

// ahead reads a little of every part of the evidence of some payments. Evidence in no order lies all over the memory, and what does not depend on each other the
// processor fetches side by side, where judging would wait for one piece after another.
func (j *judge) ahead(from, to int) {
	var sum uint64
	for n := from; n < to; n++ {
		for _, c := range j.keyed.at(int32(n)) {
			sum += uint64(c.ID[0]) + uint64(c.EventTime) + uint64(c.Key.Nonce[31]) + uint64(c.X402Version) + uint64(c.Transaction[0]) + uint64(c.PayTo[0]) +
				c.Amount.Units[0] + c.Required.Units[0] + c.SignedValue.Units[0] + c.ValidBefore + uint64(len(c.ErrorClass)) + uint64(len(c.RequirementsResource)) +
				uint64(len(c.RouteTemplate)) + uint64(len(c.Sources))
		}
		if ss := j.settlements.at(int32(n)); len(ss) > 0 {
			s := ss[0]
			sum += s.ChainID + uint64(s.BlockTime) + uint64(s.Transaction[0]) + uint64(s.Authorizer[0]) + uint64(len(s.Pairing)) + s.Amount[0] + uint64(len(s.Legs)) + uint64(len(s.Scheme))
			if t := j.sent[j.settlements.begin(int32(n))]; t != nil {
				sum += uint64(t.Sender[0])
			}
		}
	}
	j.looked += sum
}

// dense closes up the places of payments that are foreign.
func dense(all []Case) []Case {
	kept := 0
	for i := range all {
		if all[i].Payment.Verdict != "" {
			if kept < i {
				all[kept] = all[i]
			}
			kept++
		}
	}
	return all[:kept]
}

// ground is what judging asks of a chain again and again.
type ground struct {
	chain    Chain
	followed bool
	head     schema.Head
	token    schema.Address // the one that was asked for last, and what is known of it
	its      Token
	known    bool
}

// on is the ground of a chain.
func (j *judge) on(chain uint64) *ground {
	if j.last != nil && j.last.head.ChainID == chain {
		return j.last
	}
	g := j.grounds[chain]
	if g == nil {
		g = &ground{head: j.ev.AsOf.Heads[chain]}
		g.chain, g.followed = j.cfg.Chains[chain]
		g.its, g.known = g.chain.Tokens[g.token]
		g.head.ChainID = chain
		j.grounds[chain] = g
	}
	j.last = g
	return g
}

// follows tells of a token whether it is followed.
func (g *ground) follows(token schema.Address) (its Token, known bool) {
	if g.token != token {
		g.token = token
		g.its, g.known = g.chain.Tokens[token]
	}
	return g.its, g.known
}

// spine is what tells nearly all keys apart, in as little memory as can be: the first bytes of payer and nonce.
type spine struct {
	market       int32 // number of chain, token and method
	n            int32
	payer, nonce uint64
}

// ranks gives each key its place in the order of payment_ids: by spines, which lie together, and by the whole keys where spines leave it open.
func (j *judge) ranks() []int32 {
	keys := j.payments.keys
	markets := newNumbers(0, hashKey, sameKey)
	spines := emptied(j.spines, len(keys))[:len(keys)]
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
	whole := func(a, b spine) int { return keys[a.n].Compare(keys[b.n]) }
	for from := 0; from < len(spines); { // one payer after another, or those of one spine together
		to, open := from+1, false
		for ; to < len(spines) && spines[to].market == spines[from].market && spines[to].payer == spines[from].payer; to++ {
			open = open || spines[to].nonce == spines[to-1].nonce || keys[spines[to].n].Authorizer != keys[spines[from].n].Authorizer
		}
		if open {
			slices.SortFunc(spines[from:to], whole)
		}
		from = to
	}
	j.spines, j.rank = spines, emptied(j.rank, len(spines))[:len(spines)]
	for i := range spines {
		j.rank[spines[i].n] = int32(i)
	}
	return j.rank
}

// layOutClaims puts claims that state their key to their payments, and the others into the order of time.
func (j *judge) layOutClaims() {
	j.stated, j.of = emptied(j.stated, len(j.ev.Claims)), emptied(j.of, len(j.ev.Claims))
	for i := range j.ev.Claims {
		c := &j.ev.Claims[i]
		if !j.on(c.Key.ChainID).followed {
			continue // kept and counted as not audited, not judged
		}
		if c.Keyed {
			j.stated, j.of = append(j.stated, c), append(j.of, j.payments.number(&c.Key))
		} else {
			j.keyless = append(j.keyless, c)
		}
	}
	j.keyed.fill(len(j.payments.keys), j.of, j.stated)
	j.keyless = inTime(j.keyless)
}

// layOutChain indexes what the chain says. What lies in a block that is not known to be canonical counts for nothing; a settlement whose block is known to
// be dead is an orphan.
func (j *judge) layOutChain() {
	canonical := emptied(j.canonical, len(j.ev.Settlements))
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
	j.canonical, j.of = canonical, emptied(j.of, len(canonical))
	for _, s := range canonical {
		k := s.Key()
		j.of = append(j.of, j.payments.number(&k))
	}
	j.settlements.fill(len(j.payments.keys), j.of, canonical)
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
	j.calls.reset(room, hashPlace, samePlace)
	j.receipts, j.named = emptied(j.receipts, room), emptied(j.named, room)
	for i := range j.ev.Transactions {
		t := &j.ev.Transactions[i]
		canonical, known := j.ev.Canonical[t.BlockHash]
		if canonical || !known && t.BlockNumber <= j.on(t.ChainID).head.Final.Number {
			j.receipts[j.called(place{t.ChainID, t.Hash})] = t
		}
	}
	name := func(p place) {
		if p.tx != (schema.Hash{}) {
			j.named[j.called(p)] = true
		}
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
	j.sent = cleared(j.sent, len(j.settlements.records))
	for i, s := range j.settlements.records {
		p := place{s.ChainID, s.Transaction}
		if n, met := j.calls.find(&p); met {
			j.sent[i] = j.receipts[n]
			if j.named[n] {
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
		j.receipts, j.named = append(j.receipts, nil), append(j.named, false)
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
func rung(keyless map[*Claim]schema.Rung, c *Claim) schema.Rung {
	if c.Keyed {
		return schema.RungKey
	}
	return keyless[c]
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
