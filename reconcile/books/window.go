package books

import (
	"context"
	"slices"
	"strings"

	"x402audit/reconcile/findings"
	"x402audit/schema"
)

// windowFindings are the rules over windows that have found something on a payment: they are not in the payments' own rows, which sweeps write.
func (b *Books) windowFindings(ctx context.Context) (map[schema.Key][]string, error) {
	rules := map[schema.Key][]string{}
	where := "FINAL WHERE rule IN ('" + strings.Join(findings.WindowIDs(), "', '") + "')"
	err := schema.Findings.Each(ctx, b.store, where, nil, func(f *schema.Finding) error {
		rules[f.Key] = append(rules[f.Key], f.Rule)
		return upTo(ctx, f.Version.Evidence)
	})
	return rules, err
}

// withRules adds rules to those of a payment, each once, in the order of their ids.
func withRules(own, more []string) []string {
	if len(more) == 0 {
		return own
	}
	all := slices.Concat(own, more)
	slices.Sort(all)
	return slices.Compact(all)
}
