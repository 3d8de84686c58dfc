package config

import (
	"fmt"

	"github.com/holiman/uint256"

	"x402audit/reconcile/books"
)

// Fee is what a facilitator charges for each payment that it settles, in whole units of its bill's currency, beyond those that are free in a calendar month.
type Fee struct {
	PerPayment   Decimal `yaml:"per_payment"`
	FreePerMonth uint64  `yaml:"free_per_month"`
}

// IsZero holds when no plan is given.
func (f Fee) IsZero() bool { return f == Fee{} }

func (t *tree) fee(path string, f Fee) {
	if f.IsZero() {
		return
	}
	if f.PerPayment == (Decimal{}) {
		t.wrong(path+".per_payment", "missing: what a payment costs")
	} else if _, err := f.PerPayment.units(books.FeeDecimals); err != nil {
		t.wrong(path+".per_payment", "more than %d digits behind the point", books.FeeDecimals)
	}
}

// FeePlan is what a facilitator charges. The error says that no such facilitator or no plan is configured.
func (c *Config) FeePlan(facilitator string) (books.FeePlan, error) {
	for _, f := range c.Facilitators {
		if f.Name != facilitator {
			continue
		}
		if f.Fee.IsZero() {
			return books.FeePlan{}, fmt.Errorf("facilitator %s has no fee: set facilitators[].fee to {per_payment, free_per_month}", facilitator)
		}
		each, err := f.Fee.PerPayment.units(books.FeeDecimals)
		return books.FeePlan{PerPayment: each, FreePerMonth: f.Fee.FreePerMonth}, err
	}
	return books.FeePlan{}, fmt.Errorf("%q is none of the configured facilitators", facilitator)
}

// ParseBill reads an amount in whole units of a bill's currency.
func ParseBill(s string) (uint256.Int, error) {
	var d Decimal
	if err := d.UnmarshalText([]byte(s)); err != nil {
		return uint256.Int{}, fmt.Errorf("%.40q is not an amount such as 12 or 12.50", s)
	}
	return d.units(books.FeeDecimals)
}
