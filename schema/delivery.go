package schema

// Delivery is one record of what a resource server served for a payment, as one place of its access log says. The same request read in two places
// is two rows of one ID. What the record does not state is zero or empty.
type Delivery struct {
	ID          Hash // of the canonical record
	Facilitator string
	Position          // the source is the server's log
	EventTime   int64 // Unix milliseconds; 0 when the record states none
	HTTPMethod  string
	URL         string // as it was logged: full, or the path with its query
	Route       string // the server's own template
	Status      uint16 // of the HTTP response; 0 when unstated

	Key   Key  // complete when Keyed; otherwise what the payment header states: ChainID, Token, Authorizer
	Keyed bool // false when the header states no nonce, or did not decode

	PayTo       Address // that the payment header signs; zero when unstated
	SignedValue Amount  // that it signs
	ValidBefore uint64  // Unix seconds, exclusive; 0 when unstated

	Transaction       Hash   // that the settle response beside it names
	PaymentIdentifier string // extension payment-identifier
	RequestID         string
}

// Delivered is what became of the request that a payment was made for, by the servers' own logs.
type Delivered string

const (
	DeliveredUnsaid  Delivered = ""        // no delivery log says: none is there, or none has moved past the settlement yet
	DeliveredServed  Delivered = "served"  // some request with it was answered 2xx
	DeliveredRefused Delivered = "refused" // there were requests with it, and all were answered 4xx or 5xx
	DeliveredUnknown Delivered = "unknown" // there were requests with it, and the log does not say of all whether they were served
	DeliveredAbsent  Delivered = "absent"  // settled, and a delivery log of its payTo that has moved past that knows no request with it
)

// Deliveries is what resource servers served.
var Deliveries = Table[Delivery]{"deliveries", append([]column[Delivery]{
	derive("pid", func(r *Delivery) uint64 {
		if !r.Keyed {
			return 0
		}
		return r.Key.PID()
	}),
	plain("delivery_id", func(r *Delivery) *Hash { return &r.ID }),
	plain("facilitator", func(r *Delivery) *string { return &r.Facilitator }),
	millis("event_time", func(r *Delivery) *int64 { return &r.EventTime }),
	plain("http_method", func(r *Delivery) *string { return &r.HTTPMethod }),
	plain("url", func(r *Delivery) *string { return &r.URL }),
	plain("route", func(r *Delivery) *string { return &r.Route }),
	plain("status", func(r *Delivery) *uint16 { return &r.Status }),
	plain("chain_id", func(r *Delivery) *uint64 { return &r.Key.ChainID }),
	plain("token", func(r *Delivery) *Address { return &r.Key.Token }),
	word("method", func(r *Delivery) *Method { return &r.Key.Method }),
	plain("authorizer", func(r *Delivery) *Address { return &r.Key.Authorizer }),
	plain("nonce", func(r *Delivery) *Hash { return &r.Key.Nonce }),
	plain("keyed", func(r *Delivery) *bool { return &r.Keyed }),
	plain("pay_to", func(r *Delivery) *Address { return &r.PayTo }),
	amount("signed_value", func(r *Delivery) *Amount { return &r.SignedValue }),
	plain("valid_before", func(r *Delivery) *uint64 { return &r.ValidBefore }),
	plain("transaction", func(r *Delivery) *Hash { return &r.Transaction }),
	plain("payment_identifier", func(r *Delivery) *string { return &r.PaymentIdentifier }),
	plain("request_id", func(r *Delivery) *string { return &r.RequestID }),
}, position(func(r *Delivery) *Position { return &r.Position })...)}
