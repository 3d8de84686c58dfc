package config

import (
	"cmp"
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// tree is the configuration before it has types, and what was found wrong with it.
type tree struct {
	file     string
	root     *yaml.Node
	origin   map[*yaml.Node]string // nodes that a variable or a flag has set
	where    map[string]*yaml.Node // by path, such as chains[0].rpc
	environ  []string
	problems Problems
}

func (t *tree) problem(n *yaml.Node, format string, args ...any) {
	p := Problem{Text: fmt.Sprintf(format, args...)}
	if name, ok := t.origin[n]; ok {
		p.Where = name
	} else if n != nil && n.Line > 0 {
		p.Where, p.line = t.file+":"+strconv.Itoa(n.Line), n.Line
	} else {
		p.Where = t.file
	}
	t.problems = append(t.problems, p)
}

// wrong is problem at a path; where the path itself is absent, the nearest thing that holds it is named.
func (t *tree) wrong(path, format string, args ...any) {
	at := path
	for at != "" && t.where[at] == nil {
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	n := t.where[at]
	if n == nil {
		n = &yaml.Node{} // the file as a whole
	}
	t.problem(n, "%s: %s", path, fmt.Sprintf(format, args...))
}

func (t *tree) given(path string) bool { return t.where[path] != nil }

func (t *tree) sortProblems() {
	slices.SortStableFunc(t.problems, func(a, b Problem) int { return cmp.Compare(a.line, b.line) })
}

func (t *tree) decode(n *yaml.Node, c *Config) { t.value(n, reflect.ValueOf(c).Elem(), "") }

// value brings a node into v. A key with no value leaves the default; a single value where a list is meant is a list of one.
func (t *tree) value(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if isNull(n) {
		return
	}
	t.where[path] = n
	text, isText := v.Addr().Interface().(encoding.TextUnmarshaler)
	switch {
	case isText && n.Kind == yaml.ScalarNode:
		if err := text.UnmarshalText([]byte(n.Value)); err != nil {
			t.problem(n, "%s: %v", path, err)
		}
	case v.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		t.mapping(n, v, path)
	case v.Kind() == reflect.Slice:
		entries := []*yaml.Node{n}
		if n.Kind == yaml.SequenceNode {
			entries = n.Content
		}
		list := reflect.MakeSlice(v.Type(), len(entries), len(entries))
		for i, entry := range entries {
			t.value(entry, list.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
		v.Set(list)
	case v.Kind() == reflect.Map && n.Kind == yaml.MappingNode:
		t.words(n, v, path)
	case v.Kind() == reflect.Struct || v.Kind() == reflect.Map || isText:
		t.problem(n, "%s: expected %s", cmp.Or(path, "the configuration"), expected(v.Type()))
	case n.Kind != yaml.ScalarNode || n.Decode(v.Addr().Interface()) != nil:
		t.problem(n, "%s: expected %s, not %s", path, expected(v.Type()), shown(n))
	}
}

func (t *tree) mapping(n *yaml.Node, v reflect.Value, path string) {
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field, ok := fieldOf(v, key.Value)
		switch {
		case !ok:
			t.problem(key, "unknown key %s%s", join(path, key.Value), suggestion(key.Value, keysOf(v.Type())))
		case seen[key.Value]:
			t.problem(key, "%s is given twice", join(path, key.Value))
		default:
			t.value(value, field, join(path, key.Value))
		}
		seen[key.Value] = true
	}
}

// words brings a mapping of names to texts into v.
func (t *tree) words(n *yaml.Node, v reflect.Value, path string) {
	words := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if words.MapIndex(reflect.ValueOf(key.Value)).IsValid() {
			t.problem(key, "%s is given twice", join(path, key.Value))
		}
		word := reflect.New(v.Type().Elem()).Elem()
		t.value(n.Content[i+1], word, join(path, key.Value))
		words.SetMapIndex(reflect.ValueOf(key.Value), word)
	}
	v.Set(words)
}

// expected says what a type looks like in the file.
func expected(typ reflect.Type) string {
	switch typ.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Uint8, reflect.Uint16:
		return fmt.Sprintf("a whole number up to %d", uint64(1)<<typ.Bits()-1)
	case reflect.Uint64, reflect.Int64:
		return "a whole number"
	case reflect.Map:
		return "a mapping of names to texts"
	case reflect.Struct:
		if keys := keysOf(typ); len(keys) > 0 {
			return "a mapping of " + strings.Join(keys, ", ")
		}
	}
	return "one value"
}

func shown(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%.40q", n.Value)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func keyOf(f reflect.StructField) string {
	if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != "-" {
		return key
	}
	return ""
}

func keysOf(typ reflect.Type) (keys []string) {
	for i := range typ.NumField() {
		if key := keyOf(typ.Field(i)); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

func fieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if k := keyOf(v.Type().Field(i)); k != "" && k == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// suggestion names the key that was probably meant, if there is one within two typing errors.
func suggestion(got string, keys []string) string {
	best, least := "", 3
	for _, key := range keys {
		if d := distance(got, key); d < least && d < len(key) {
			best, least = key, d
		}
	}
	if best == "" {
		return "; the keys here are " + strings.Join(keys, ", ")
	}
	return "; did you mean " + best + "?"
}

// distance is the number of typing errors between two words (restricted Damerau-Levenshtein: a wrong, a missing, an additional
// letter or two that changed places).
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
