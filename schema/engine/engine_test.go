//go:build (linux || darwin) && (amd64 || arm64)

package engine_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema/engine"
	"x402audit/schema/npmcache"
)

func TestValuesSurviveReopening(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	amount := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	hash := [32]byte{0: 0xff, 5: 0x0a, 31: 0x00}

	first := open(t, engine.Options{Dir: dir})
	if first.Joined {
		t.Error("the first user joined")
	}
	native := conn(t, first.DSN(engine.Database))
	exec1(t, native, "CREATE TABLE payments (amount UInt256, nonce FixedString(32)) ENGINE = MergeTree ORDER BY nonce")
	batch, err := native.PrepareBatch(t.Context(), "INSERT INTO payments")
	if err != nil {
		t.Fatal(err)
	}
	if err := batch.Append(amount, string(hash[:])); err != nil {
		t.Fatal(err)
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
	if got := query1[string](t, native, "SELECT engine FROM system.databases WHERE name = 'x402'"); got != "Atomic" {
		t.Errorf("database x402 is of engine %s", got)
	}
	if got := query1[string](t, native, "SELECT timezone()"); got != "UTC" {
		t.Errorf("time zone %s", got)
	}
	native.Close()
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if alive(first.Pid) {
		t.Error("the engine lives on after its last user's Close")
	}

	second := open(t, engine.Options{Dir: dir})
	if second.Password == first.Password {
		t.Error("the program's password is that of the last start")
	}
	if second.ReaderPassword != first.ReaderPassword {
		t.Error("the reader's password changed: data sources would lose it")
	}
	overHTTP, err := clickhouse.Open(&clickhouse.Options{
		Protocol: clickhouse.HTTP, Addr: []string{second.HTTPAddr},
		Auth: clickhouse.Auth{Database: engine.Database, Username: second.User, Password: second.Password},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer overHTTP.Close()
	for name, c := range map[string]clickhouse.Conn{"native": conn(t, second.DSN(engine.Database)), "http": overHTTP} {
		var gotAmount big.Int
		var gotNonce string
		if err := c.QueryRow(t.Context(), "SELECT amount, nonce FROM payments").Scan(&gotAmount, &gotNonce); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if gotAmount.Cmp(amount) != 0 || gotNonce != string(hash[:]) {
			t.Errorf("%s: %s, %x; want %s, %x", name, &gotAmount, gotNonce, amount, hash)
		}
	}
}

func TestOnlyTheOwnerCanReadPasswords(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	e := open(t, engine.Options{Dir: dir})
	for _, name := range []string{"engine.json", "config.xml", "users.xml", "engine.out"} {
		info, err := os.Stat(filepath.Join(dir, "run", name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "run")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("run has mode %v (%v)", info.Mode(), err)
	}
	// The child's environment and command line are open to more readers than its files.
	for _, name := range []string{"environ", "cmdline"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", e.Pid, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // no /proc on this system
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{e.Password, e.ReaderPassword} {
			if strings.Contains(string(b), secret) {
				t.Errorf("a password is in the engine's %s", name)
			}
		}
	}
}

func TestEngineLivesFromFirstToLastUser(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	starter := run(t, envUser, dir)
	pid, joined := starter.engine()
	if joined {
		t.Error("the first user joined")
	}
	second := run(t, envUser, dir)
	if p, joined := second.engine(); p != pid || !joined {
		t.Errorf("the second user has engine %d (joined %t), want to join %d", p, joined, pid)
	}
	e := open(t, engine.Options{Dir: dir})
	if e.Pid != pid || !e.Joined {
		t.Errorf("the third user has engine %d (joined %t), want to join %d", e.Pid, e.Joined, pid)
	}

	starter.leave()
	second.kill()
	time.Sleep(time.Second) // four of the engine's looks for users
	if got := query1[uint8](t, conn(t, e.DSN(engine.Database)), "SELECT 1"); got != 1 {
		t.Errorf("SELECT 1 = %d", got)
	}

	// Others' connections do not hold up the end: one that waits, one in a query.
	reader := "clickhouse://" + e.Reader + ":" + e.ReaderPassword + "@" + e.NativeAddr
	if err := conn(t, reader).Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	busy, other := make(chan error), conn(t, reader)
	go func() {
		busy <- other.Exec(t.Context(), "SELECT sleepEachRow(1) FROM (SELECT arrayJoin(range(25))) SETTINGS max_block_size = 1")
	}()
	for mine := conn(t, e.DSN(engine.Database)); query1[uint64](t, mine, "SELECT count() FROM system.processes WHERE user = 'reader'") == 0; {
		select {
		case err := <-busy:
			t.Fatalf("the query ended before it was looked for: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}

	began := time.Now()
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the engine took %s to end after its last user", took)
	}
	if alive(pid) {
		t.Error("the engine lives on without users")
	}
	select {
	case <-e.Done:
	case <-time.After(time.Second):
		t.Error("Done is open after the engine's end")
	}
	<-busy
}

// Users come and go at random moments, the engine's last ones among them: whoever has
// opened it can use it.
func TestComingWhileTheLastUserLeaves(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	deadline := time.Now().Add(6 * time.Second)
	var users sync.WaitGroup
	for i := range 3 {
		users.Go(func() {
			for n := 0; time.Now().Before(deadline); n++ {
				e, err := engine.Open(t.Context(), engine.Options{Dir: dir, MaxMemory: testMemory})
				if err != nil {
					t.Errorf("user %d: %v", i, err)
					return
				}
				c, err := connect(e.DSN(engine.Database))
				if err == nil {
					err = c.Ping(t.Context())
					c.Close()
				}
				if err != nil {
					t.Errorf("user %d: an open engine does not answer: %v", i, err)
				}
				if err := e.Close(t.Context()); err != nil {
					t.Errorf("user %d: %v", i, err)
				}
				time.Sleep(time.Duration((n*7+i*113)%13) * 40 * time.Millisecond) // around the engine's 250 ms
			}
		})
	}
	users.Wait()
}

func TestStateFileIsNotBelieved(t *testing.T) {
	t.Parallel()
	var asked sync.Map
	// Whoever has the port by now says yes to everything.
	liar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		asked.Store(password+r.Header.Get("X-ClickHouse-Key"), true)
		fmt.Fprintln(w, "1")
	}))
	defer liar.Close()
	_, port, err := net.SplitHostPort(liar.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	liarPort, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, engine.Options{Dir: folder(t)})
	_, port, err = net.SplitHostPort(other.HTTPAddr)
	if err != nil {
		t.Fatal(err)
	}
	otherPort, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}

	dir := folder(t)
	first := open(t, engine.Options{Dir: dir})
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := func(name string, change func(map[string]any)) {
		t.Helper()
		state(t, dir, change)
		e, err := engine.Open(t.Context(), engine.Options{Dir: dir, MaxMemory: testMemory})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if e.Joined || e.Pid == other.Pid || e.Pid == os.Getpid() {
			t.Errorf("%s: joined %d", name, e.Pid)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, sent := asked.Load(e.Password); sent {
			t.Errorf("%s: the running engine's password went to another program", name)
		}
	}
	f("the engine is gone", func(map[string]any) {})
	f("its pid is another program's", func(s map[string]any) { s["pid"] = os.Getpid() })
	f("its port is another program's", func(s map[string]any) { s["pid"] = os.Getpid(); s["http_port"] = liarPort })
	if _, sent := asked.Load(""); sent {
		t.Error("asked without a password")
	}
	f("its port is another folder's engine's", func(s map[string]any) {
		s["http_port"], s["password"] = otherPort, other.Password
	})
	f("no instance id", func(s map[string]any) { delete(s, "instance"); s["http_port"] = liarPort })

	if err := os.WriteFile(filepath.Join(dir, "run", "engine.json"), []byte(`{"pid": 1`), 0o600); err != nil {
		t.Fatal(err)
	}
	if e := open(t, engine.Options{Dir: dir}); e.Joined {
		t.Error("joined by half a file")
	}
}

// checkWrites asserts that every acknowledged batch of a writer is there, and every
// batch that is there is whole.
func checkWrites(t *testing.T, e *engine.Engine, writer int, acknowledged uint32) {
	t.Helper()
	c := conn(t, e.DSN(engine.Database))
	torn := query1[uint64](t, c, "SELECT count() FROM (SELECT batch, count() AS n, uniqExact(row) AS rows FROM writes WHERE writer = ? GROUP BY batch HAVING n != ? OR rows != ?)", uint32(writer), batchRows, batchRows)
	there := query1[uint64](t, c, "SELECT uniqExact(batch) FROM writes WHERE writer = ? AND batch <= ?", uint32(writer), acknowledged)
	if torn != 0 || there != uint64(acknowledged) {
		t.Errorf("writer %d: %d of %d acknowledged batches are there, %d torn", writer, there, acknowledged, torn)
	}
}

const createWrites = "CREATE TABLE writes (writer UInt32, batch UInt32, row UInt32) ENGINE = MergeTree ORDER BY (writer, batch, row)"

func TestKilledEngineLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	for round := 1; round <= 4; round++ {
		e := open(t, engine.Options{Dir: dir})
		if e.Joined {
			t.Fatalf("round %d: joined a killed engine", round)
		}
		c := conn(t, e.DSN(engine.Database))
		if round == 1 {
			exec1(t, c, createWrites)
		}
		var acknowledged uint32
		killed := time.AfterFunc(time.Duration(150+round*97)*time.Millisecond, func() { _ = syscall.Kill(e.Pid, syscall.SIGKILL) })
		if err := write(t.Context(), c, round, func(n uint32) { acknowledged = n }); err == nil || killed.Stop() {
			t.Fatalf("round %d: writing ended before the kill: %v", round, err)
		}
		if acknowledged == 0 {
			t.Fatalf("round %d: nothing written before the kill", round)
		}
		// At once: the next start waits for what the killed one still holds.
		again := open(t, engine.Options{Dir: dir})
		checkWrites(t, again, round, acknowledged)
		select {
		case <-e.Done:
		case <-time.After(5 * time.Second):
			t.Errorf("round %d: Done is open after the engine was killed", round)
		}
		for _, user := range []*engine.Engine{e, again} {
			if err := user.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestEngineEndsAfterAllUsersWereKilled(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	starter, second := run(t, envUser, dir), run(t, envUser, dir)
	pid, _ := starter.engine()
	second.engine()
	starter.kill()
	second.kill()

	began := time.Now()
	ended(t, dir)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the engine took %s to notice", took)
	}
	if alive(pid) {
		t.Error("the engine lives on without users")
	}
	if e := open(t, engine.Options{Dir: dir}); e.Joined || e.Pid == pid {
		t.Error("joined an engine that is no more")
	}
}

func TestSignalsToTheGroupSpareTheEngine(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	e := open(t, engine.Options{Dir: dir})
	exec1(t, conn(t, e.DSN(engine.Database)), createWrites)
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		writer := run(t, envWriter, dir) // it starts the engine
		pid, _ := writer.engine()
		e := open(t, engine.Options{Dir: dir})
		for range 10 {
			writer.line()
		}
		if err := syscall.Kill(-writer.cmd.Process.Pid, sig); err != nil {
			t.Fatal(err)
		}
		for _, target := range []int{pid, -pid} { // and one that is meant for the engine itself
			if err := syscall.Kill(target, sig); err != nil {
				t.Fatal(err)
			}
		}
		acknowledged := max(10, writer.wrote())
		if err := writer.cmd.Wait(); err == nil {
			t.Fatalf("the writer survived %v", sig)
		}
		time.Sleep(500 * time.Millisecond)
		if e.Pid != pid || !alive(pid) {
			t.Fatalf("%v ended the engine", sig)
		}
		checkWrites(t, e, writer.cmd.Process.Pid, acknowledged)
		if err := e.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnonymousUserGetsNothing(t *testing.T) {
	t.Parallel()
	e := open(t, engine.Options{Dir: folder(t)})
	exec1(t, conn(t, e.DSN(engine.Database)), "CREATE TABLE payments (id UInt64) ENGINE = MergeTree ORDER BY id")
	for _, user := range []string{"", "default"} {
		for _, sql := range []string{
			"SELECT 1",
			"SELECT number FROM system.numbers LIMIT 1",
			"SELECT count() FROM x402.payments",
			"SELECT getMacro('x402audit_instance')",
			"CREATE DATABASE evil",
			"KILL QUERY WHERE 1",
			"SYSTEM STOP LISTEN HTTP",
			"SYSTEM STOP LISTEN TCP",
			"SYSTEM START LISTEN HTTP",
			"SYSTEM SHUTDOWN",
		} {
			if status, answer := post(t, e, user, "", sql); status == http.StatusOK {
				t.Errorf("user %q: %s is answered: %s", user, sql, answer)
			}
		}
	}
	for _, dsn := range []string{"clickhouse://" + e.NativeAddr, "clickhouse://default:@" + e.NativeAddr} {
		c := conn(t, dsn)
		for _, sql := range []string{"SELECT 1", "SYSTEM STOP LISTEN TCP"} {
			if err := c.Exec(t.Context(), sql); err == nil {
				t.Errorf("%s: %s is done", dsn, sql)
			}
		}
	}
	if status, _ := post(t, e, e.User, "wrong", "SELECT 1"); status == http.StatusOK {
		t.Error("a wrong password is right")
	}

	// All others go on, over both listeners.
	if status, answer := post(t, e, e.User, e.Password, "SELECT count() FROM x402.payments"); status != http.StatusOK || answer != "0" {
		t.Errorf("the program's user over HTTP: %d %s", status, answer)
	}
	if got := query1[uint64](t, conn(t, e.DSN(engine.Database)), "SELECT count() FROM payments"); got != 0 {
		t.Errorf("the program's user over native TCP: %d", got)
	}
	if status, answer := post(t, e, e.Reader, e.ReaderPassword, "SELECT 1"); status != http.StatusOK {
		t.Errorf("the reader: %d %s", status, answer)
	}
}

// What a client does before it has come in must not end the engine for all.
func TestBrokenHandshakesSpareTheEngine(t *testing.T) {
	t.Parallel()
	e := open(t, engine.Options{Dir: folder(t)})
	for range 20 {
		for _, address := range []string{e.NativeAddr, e.HTTPAddr} {
			for _, sent := range []string{"", "\x00", "\xff\xff\xff\xff\xff", "GET / HTTP/1.1\r\n"} {
				c, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Write([]byte(sent)); err != nil {
					t.Fatal(err)
				}
				if err := c.(*net.TCPConn).SetLinger(0); err != nil { // close by a reset
					t.Fatal(err)
				}
				c.Close()
			}
		}
		for _, dsn := range []string{"clickhouse://app:wrong@" + e.NativeAddr, e.DSN("no_such_database")} {
			c, err := connect(dsn)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Ping(t.Context()); err == nil {
				t.Error("came in")
			}
			c.Close()
		}
	}
	if got := query1[uint8](t, conn(t, e.DSN(engine.Database)), "SELECT 1"); got != 1 {
		t.Errorf("SELECT 1 = %d", got)
	}
}

func TestReaderReadsWhatIsGranted(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	secret := filepath.Join(dir, "run", "engine.json")
	e := open(t, engine.Options{Dir: dir, ReaderGrants: []string{"GRANT SELECT ON x402.payments", "GRANT SELECT(id) ON x402.claims"}})
	c := conn(t, e.DSN(engine.Database))
	for _, table := range []string{"payments", "claims", "raw_lines"} {
		exec1(t, c, "CREATE TABLE "+table+" (id UInt64, line String) ENGINE = MergeTree ORDER BY id")
		exec1(t, c, "INSERT INTO "+table+" VALUES (7, 'x')")
	}

	may := func(sql string) {
		t.Helper()
		if status, answer := post(t, e, e.Reader, e.ReaderPassword, sql); status != http.StatusOK {
			t.Errorf("%s: %s", sql, answer)
		}
	}
	may("SELECT id, line FROM x402.payments")
	may("SELECT id FROM x402.claims")
	may("SELECT count() FROM x402.payments AS p JOIN x402.claims AS c USING (id) SETTINGS max_execution_time = 10, max_threads = 1")
	may("SELECT name FROM system.tables WHERE database = 'x402'")

	mayNot := func(sql string) {
		t.Helper()
		if status, answer := post(t, e, e.Reader, e.ReaderPassword, sql); status == http.StatusOK {
			t.Errorf("%s is answered: %s", sql, answer)
		}
	}
	mayNot("SELECT id FROM x402.raw_lines")
	mayNot("SELECT line FROM x402.claims")
	mayNot("SELECT * FROM file('" + secret + "', 'RawBLOB')")
	mayNot("SELECT * FROM url('http://" + e.HTTPAddr + "/ping', 'RawBLOB')")
	mayNot("SELECT * FROM remote('" + e.NativeAddr + "', x402.raw_lines, 'app', 'x')")
	mayNot("SELECT * FROM executable('id', 'TSV', 'x String')")
	mayNot("SELECT * FROM merge('x402', 'raw_lines')")
	mayNot("SELECT query FROM system.processes WHERE user != 'reader' FORMAT Null SETTINGS readonly = 0")
	mayNot("SELECT 1 INTO OUTFILE '" + filepath.Join(dir, "out") + "'")
	mayNot("INSERT INTO x402.payments VALUES (8, 'y')")
	mayNot("INSERT INTO FUNCTION file('" + filepath.Join(dir, "out") + "', 'TSV', 'x String') VALUES ('y')")
	mayNot("ALTER TABLE x402.payments DELETE WHERE 1")
	mayNot("TRUNCATE TABLE x402.payments")
	mayNot("CREATE TABLE x402.mine (id UInt64) ENGINE = MergeTree ORDER BY id")
	mayNot("CREATE TEMPORARY TABLE mine (id UInt64)")
	mayNot("DROP TABLE x402.payments")
	mayNot("KILL QUERY WHERE 1")
	mayNot("SYSTEM STOP LISTEN HTTP")
	mayNot("SYSTEM STOP MERGES x402.payments")
	mayNot("BACKUP TABLE x402.payments TO File('" + filepath.Join(dir, "out") + "')")
	for _, bound := range []string{
		"max_execution_time = 0", "max_execution_time = 31", "max_memory_usage = 0",
		"max_memory_usage_for_user = 0", "max_untracked_memory = 1000000000000", "timeout_overflow_mode = 'break'", "readonly = 0",
	} {
		mayNot("SELECT 1 SETTINGS " + bound)
	}
	mayNot("SELECT groupArray(number) FROM numbers(1000000000) FORMAT Null") // above its share of memory

	if rows := query1[uint64](t, c, "SELECT count() FROM payments WHERE line = 'x'"); rows != 1 {
		t.Errorf("%d rows are left", rows)
	}
}

func TestFixedPorts(t *testing.T) {
	t.Parallel()
	free := func() int {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).Port
	}
	dir, o := folder(t), engine.Options{HTTPPort: free(), TCPPort: free()}
	o.Dir = dir
	e := open(t, o)
	if e.HTTPAddr != fmt.Sprintf("127.0.0.1:%d", o.HTTPPort) || e.NativeAddr != fmt.Sprintf("127.0.0.1:%d", o.TCPPort) {
		t.Errorf("serves on %s and %s, want ports %d and %d", e.HTTPAddr, e.NativeAddr, o.HTTPPort, o.TCPPort)
	}
	if second := open(t, o); !second.Joined {
		t.Error("a second user of the same ports did not join")
	}

	f := func(http, tcp int, want string) {
		t.Helper()
		_, err := engine.Open(t.Context(), engine.Options{Dir: folder(t), HTTPPort: http, TCPPort: tcp})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want one line with %q", err, want)
		}
	}
	f(o.HTTPPort, 0, fmt.Sprintf("clickhouse.http_port %d: port is already in use", o.HTTPPort))
	f(0, o.TCPPort, fmt.Sprintf("clickhouse.tcp_port %d: port is already in use", o.TCPPort))
	f(o.TCPPort, o.TCPPort, "both")
}

func TestOneFolderTakesAnyName(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(folder(t), `it's <a> "folder" & more`)
	e := open(t, engine.Options{Dir: dir})
	exec1(t, conn(t, e.DSN(engine.Database)), "CREATE TABLE payments (id UInt64) ENGINE = MergeTree ORDER BY id")
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestLibraryThatIsNotOne(t *testing.T) {
	lib, err := engine.Find("")
	if err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "libchdb.so")
	if err := os.WriteFile(text, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(path, want string) {
		t.Helper()
		_, err := engine.Open(t.Context(), engine.Options{Dir: folder(t), Lib: path})
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want one line with %s and %q", err, path, want)
		}
	}
	f(filepath.Join(t.TempDir(), "missing.so"), "no such file")
	f(filepath.Dir(lib), "is not a file")
	f(text, "cannot load the engine library")

	t.Setenv(engine.EnvLib, lib)
	t.Setenv(npmcache.EnvRoot, t.TempDir()) // nothing in the cache: the variable alone finds it
	open(t, engine.Options{Dir: folder(t)})
	t.Setenv(engine.EnvLib, text+".missing")
	if _, err := engine.Find(""); err == nil || !strings.Contains(err.Error(), engine.EnvLib) {
		t.Errorf("error %v, want one that names %s", err, engine.EnvLib)
	}
}

func TestNotInstalled(t *testing.T) {
	t.Setenv(npmcache.EnvRoot, t.TempDir())
	t.Setenv(engine.EnvLib, "")
	_, err := engine.Open(t.Context(), engine.Options{Dir: folder(t)})
	if !errors.Is(err, engine.ErrNotInstalled) || !strings.Contains(err.Error(), "x402audit engine install") {
		t.Errorf("error %v, want %v with the command to run", err, engine.ErrNotInstalled)
	}
	t.Setenv("PATH", t.TempDir())
	if _, _, err := engine.Install(t.Context(), nil); !errors.Is(err, npmcache.ErrNoNPM) {
		t.Errorf("error %v, want %v", err, npmcache.ErrNoNPM)
	}
}

func TestProgramWithoutMain(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envNoMain+"="+folder(t))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "engine.Main was not called") {
		t.Errorf("%v: %s", err, out)
	}
}
