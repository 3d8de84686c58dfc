package config

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const envPrefix = "X402AUDIT_"

// notKeys are variables of the program that are no keys of the configuration: where the engine's library is, and where what npm fetched
// is kept.
var notKeys = []string{"X402AUDIT_ENGINE", "X402AUDIT_ENGINE_CHILD", "X402AUDIT_CACHE"}

// environment applies every X402AUDIT_ variable to the tree. One that names no key is as wrong as an unknown key.
func (t *tree) environment(environ []string) {
	var set []string
	for _, e := range environ {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, envPrefix) && !slices.Contains(notKeys, name) {
			set = append(set, e)
		}
	}
	// Shorter first: a whole list before its entries, entry 2 before entry 10.
	slices.SortFunc(set, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
	for _, e := range set {
		name, value, _ := strings.Cut(e, "=")
		if err := t.set(t.root, reflect.TypeFor[Config](), strings.TrimPrefix(name, envPrefix), value, name); err != nil {
			t.problems = append(t.problems, Problem{Where: name, Text: err.Error()})
		}
	}
}

var errNoKey = errors.New("no key of the configuration has this name")

// set gives the key named by rest, as a variable names it below n, a value.
func (t *tree) set(n *yaml.Node, typ reflect.Type, rest, value, origin string) error {
	switch {
	case rest == "":
		v, err := t.node(typ, value, origin)
		if err != nil {
			return err
		}
		*n = *v
		t.adopt(n, origin)
		return nil
	case typ.Kind() == reflect.Slice:
		digits, rest, _ := strings.Cut(rest, "_")
		i, err := strconv.Atoi(digits)
		if err != nil || i < 0 {
			return errNoKey
		}
		if n.Kind != yaml.SequenceNode {
			*n = yaml.Node{Kind: yaml.SequenceNode, Line: n.Line}
		}
		if i > len(n.Content) {
			return fmt.Errorf("entry %d of a list that has %d (they count from 0)", i, len(n.Content))
		}
		if i == len(n.Content) {
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.MappingNode})
			t.adopt(n.Content[i], origin)
		}
		return t.set(n.Content[i], typ.Elem(), rest, value, origin)
	case typ.Kind() == reflect.Struct:
		for _, key := range keysOf(typ) {
			after, ok := strings.CutPrefix(rest, strings.ToUpper(key))
			if !ok || (after != "" && after[0] != '_') {
				continue
			}
			if n.Kind != yaml.MappingNode && !isNull(n) {
				return errors.New("the file has a single value there, not a mapping")
			}
			field, _ := typ.FieldByNameFunc(func(name string) bool {
				f, _ := typ.FieldByName(name)
				return keyOf(f) == key
			})
			return t.set(t.child(n, key, origin), field.Type, strings.TrimPrefix(after, "_"), value, origin)
		}
	}
	return errNoKey
}

// child is the value of key in the mapping n; it is made when absent.
func (t *tree) child(n *yaml.Node, key, origin string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		*n = yaml.Node{Kind: yaml.MappingNode, Line: n.Line}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	k, v := &yaml.Node{Kind: yaml.ScalarNode, Value: key}, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	t.adopt(k, origin)
	t.adopt(v, origin)
	n.Content = append(n.Content, k, v)
	return v
}

// node is a value as a variable or a flag writes it: YAML where it opens a bracket, comma separated for a list, else the value itself.
func (t *tree) node(typ reflect.Type, value, origin string) (*yaml.Node, error) {
	if strings.HasPrefix(value, "[") || strings.HasPrefix(value, "{") {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(value), &doc); err != nil {
			return nil, errors.New("not YAML: " + strings.TrimPrefix(err.Error(), "yaml: "))
		}
		return doc.Content[0], nil
	}
	if typ.Kind() == reflect.Slice {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for entry := range strings.SplitSeq(value, ",") {
			if entry = strings.TrimSpace(entry); entry != "" {
				list.Content = append(list.Content, scalar(entry))
			}
		}
		return list, nil
	}
	_, short := reflect.New(typ).Interface().(encoding.TextUnmarshaler)
	if typ.Kind() == reflect.Struct && !short {
		return nil, fmt.Errorf("this names a section; name one of its keys: %s", strings.Join(keysOf(typ), ", "))
	}
	return scalar(value), nil
}

// scalar leaves the type open, as a plain value in a file does, so that 8123 is a number for a port.
func scalar(value string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: value} }

// adopt makes origin the place that problems with n are told of.
func (t *tree) adopt(n *yaml.Node, origin string) {
	n.Line = 0
	t.origin[n] = origin
	for _, c := range n.Content {
		t.adopt(c, origin)
	}
}

// flags applies the command line's overrides.
func (t *tree) flags(f Flags) {
	config := reflect.TypeFor[Config]()
	if f.DSN != "" {
		t.must("--dsn", t.set(t.root, config, "CLICKHOUSE_DSN", f.DSN, "--dsn"))
	}
	if f.LogLevel != "" {
		t.must("--log-level", t.set(t.root, config, "LOG_LEVEL", f.LogLevel, "--log-level"))
	}
	urls := map[string][]string{}
	var chains []string
	for _, r := range f.RPC {
		chain, url, ok := strings.Cut(r, "=")
		if !ok || strings.Contains(chain, "://") {
			t.must("--rpc", fmt.Errorf("%.40q is not chain=url", chain))
			continue
		}
		if urls[chain] == nil {
			chains = append(chains, chain)
		}
		urls[chain] = append(urls[chain], url)
	}
	for _, chain := range chains {
		i := t.chainIndex(chain)
		if i < 0 {
			t.must("--rpc", fmt.Errorf("no chain of the configuration is named %q", chain))
			continue
		}
		t.must("--rpc", t.set(t.root, config, fmt.Sprintf("CHAINS_%d_RPC", i), strings.Join(urls[chain], ","), "--rpc"))
	}
}

func (t *tree) must(origin string, err error) {
	if err != nil {
		t.problems = append(t.problems, Problem{Where: origin, Text: err.Error()})
	}
}

// chainIndex is the place of a chain in the file's list, −1 when it is not there.
func (t *tree) chainIndex(name string) int {
	for i := 0; i+1 < len(t.root.Content); i += 2 {
		if t.root.Content[i].Value != "chains" {
			continue
		}
		return slices.IndexFunc(t.root.Content[i+1].Content, func(chain *yaml.Node) bool {
			for j := 0; j+1 < len(chain.Content); j += 2 {
				if chain.Content[j].Value == "name" {
					return chain.Content[j+1].Value == name
				}
			}
			return false
		})
	}
	return -1
}
