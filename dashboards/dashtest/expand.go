package dashtest

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Window is what a dashboard is opened with: the time picker, the width of a bucket, and what is chosen of each variable; a variable of which nothing is
// chosen stands at All, or is an empty box.
type Window struct {
	From, To time.Time
	Interval time.Duration
	Chosen   map[string]string
}

// Expand does to a query what the browser and the plugin do before ClickHouse sees it. The macros are those of the ClickHouse data source 4.14; one that
// is not listed here stays, and is an error, as is a variable used outside $__conditionalAll while it stands at All.
func Expand(sql string, w Window) (string, error) {
	sql, err := conditional(sql, w.Chosen)
	if err != nil {
		return "", err
	}
	// The browser: variables.
	for name, value := range w.Chosen {
		quoted := "'" + strings.ReplaceAll(value, "'", "''") + "'"
		for form, text := range map[string]string{
			"${" + name + "}": value, "${" + name + ":csv}": value, "${" + name + ":raw}": value,
			"${" + name + ":singlequote}": quoted, "${" + name + ":sqlstring}": quoted,
		} {
			sql = strings.ReplaceAll(sql, form, text)
		}
	}
	from, to := w.From.Unix(), w.To.Unix()
	sql = strings.NewReplacer("${__from}", strconv.FormatInt(w.From.UnixMilli(), 10), "${__to}", strconv.FormatInt(w.To.UnixMilli(), 10)).Replace(sql)
	// The plugin's backend: macros.
	seconds := strconv.Itoa(int(w.Interval.Seconds()))
	for macro, text := range map[string]string{
		`\$__timeFilter_ms\(([^()]+)\)`:   fmt.Sprintf("$1 >= fromUnixTimestamp64Milli(%d) AND $1 <= fromUnixTimestamp64Milli(%d)", w.From.UnixMilli(), w.To.UnixMilli()),
		`\$__timeFilter\(([^()]+)\)`:      fmt.Sprintf("$1 >= toDateTime(%d) AND $1 <= toDateTime(%d)", from, to),
		`\$__timeInterval_ms\(([^()]+)\)`: fmt.Sprintf("toStartOfInterval(toDateTime64($1, 3), INTERVAL %d millisecond)", w.Interval.Milliseconds()),
		`\$__timeInterval\(([^()]+)\)`:    "toStartOfInterval(toDateTime($1), INTERVAL " + seconds + " second)",
		`\$__fromTime\b`:                  fmt.Sprintf("toDateTime(%d)", from),
		`\$__toTime\b`:                    fmt.Sprintf("toDateTime(%d)", to),
		`\$__interval_s\b`:                seconds,
	} {
		sql = regexp.MustCompile(macro).ReplaceAllString(sql, text)
	}
	if i := strings.Index(sql, "$"); i >= 0 {
		return "", fmt.Errorf("not expanded: %.40s", sql[i:])
	}
	return sql, nil
}

// conditional replaces $__conditionalAll(condition, $variable) by the condition, or by 1=1 where nothing is chosen.
func conditional(sql string, chosen map[string]string) (string, error) {
	const macro = "$__conditionalAll("
	for {
		start := strings.LastIndex(sql, macro)
		if start < 0 {
			return sql, nil
		}
		depth, comma, end := 1, 0, 0
		for i := start + len(macro); i < len(sql) && end == 0; i++ {
			switch sql[i] {
			case '(':
				depth++
			case ')':
				if depth--; depth == 0 {
					end = i
				}
			case ',':
				if depth == 1 && comma != 0 {
					return "", errors.New("$__conditionalAll with more than two arguments: put brackets around the first")
				} else if depth == 1 {
					comma = i
				}
			}
		}
		if comma == 0 || end == 0 {
			return "", fmt.Errorf("%.60s… is not closed", sql[start:])
		}
		name, plain := strings.CutPrefix(strings.TrimSpace(sql[comma+1:end]), "$")
		if !plain || strings.Contains(name, "{") {
			return "", fmt.Errorf("$__conditionalAll of %s: the second argument is a plain $variable", name)
		}
		condition := sql[start+len(macro) : comma]
		if chosen[name] == "" {
			condition = "1=1"
		}
		sql = sql[:start] + condition + sql[end+1:]
	}
}
