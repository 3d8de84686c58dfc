package schema

import (
	"errors"
	"slices"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/clickhouse-go/v2"
)

// Codes of ClickHouse's errors that mean something to this program.
const (
	CodeUnknownTable    = 60
	CodeUnknownDatabase = 81
)

// permanent are the codes of what somebody has to mend: until then the same statement gets the same answer.
var permanent = []int{
	16, 47, CodeUnknownTable, CodeUnknownDatabase, // no such column, identifier, table, database
	36, 43, 46, 53, 62, 115, // a statement that makes no sense to this server, an unknown setting
	164, 497, // the user may not
	192, 193, 194, 516, // the user is not known, or has another password
	701, // no such cluster
}

// ErrorCode is the code of ClickHouse's answer that an error holds; 0 when it was not ClickHouse that answered.
func ErrorCode(err error) int {
	var exception *clickhouse.Exception
	if errors.As(err, &exception) {
		return int(exception.Code)
	}
	var native *ch.Exception
	if errors.As(err, &native) {
		return int(native.Code)
	}
	return 0
}

// Permanent holds for an error of the store that trying again does not mend. All others are transient, and whoever works on keeps what it has and tries again, later and later: a
// connection that broke or was refused, a server that starts or is slow, a full disk (243), too many parts (252), no memory (241), too many queries (202), a table that is
// read-only without its Keeper (242), a shard that is away (279), and whatever else the list above does not know.
func Permanent(err error) bool { return slices.Contains(permanent, ErrorCode(err)) }
