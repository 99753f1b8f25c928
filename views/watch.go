package views

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Sessions of an account that reads can set their own limits anew, as no server forbids it. So the gateway looks after them
// with rights that Init gives to the account that publishes, over the accounts that read and no others: in PostgreSQL it is a
// member of their roles, in MySQL and MariaDB it may call a procedure for each, which runs with the rights of whoever made it.

// watchEvery is how often statements of those who read are looked at. They may take longer than allowed by so much.
const watchEvery = 2 * time.Second

// readerTable says for PostgreSQL which roles read and how long their statements may take. They cannot see it.
const readerTable = prefix + "reader"

func createReaders(d *dialect) string {
	return fmt.Sprintf("CREATE TABLE %s (%s varchar(63) PRIMARY KEY, %s bigint NOT NULL)", d.name1(readerTable), d.name1("Name"), d.name1("StatementMillis"))
}

// watchedBy lets the account that publishes end statements of one that reads: as its owner does, and as an administrator.
func (d *dialect) watchedBy(a *Account, publisher, database string) (owner, admin []string) {
	if d == postgresDialect {
		owner = []string{fmt.Sprintf("INSERT INTO %[1]s VALUES ('%[2]s', %[3]d) ON CONFLICT (%[4]s) DO UPDATE SET %[5]s = %[3]d",
			d.name1(readerTable), a.Name, a.Statement.Milliseconds(), d.name1("Name"), d.name1("StatementMillis"))}
		return owner, []string{fmt.Sprintf("GRANT %s TO %s", d.account(a.Name), d.account(publisher))}
	}
	procedure := d.name1(database) + "." + d.name1(watchPrefix+a.Name)
	return nil, []string{
		"DROP PROCEDURE IF EXISTS " + procedure,
		fmt.Sprintf(watchProcedure, procedure, a.Name, int64(a.Statement.Seconds())),
		fmt.Sprintf("GRANT EXECUTE ON PROCEDURE %s TO %s", procedure, d.account(publisher)),
	}
}

// watchPrefix begins the names of procedures of MySQL that end statements.
const watchPrefix = prefix + "watch_"

// watchProcedure ends the statements of an account that have taken longer than so many seconds and tells how many. One that
// has ended meanwhile (1094) is none.
const watchProcedure = `CREATE PROCEDURE %s() SQL SECURITY DEFINER
BEGIN
	DECLARE ended INT DEFAULT 0;
	DECLARE last INT DEFAULT 0;
	DECLARE thread BIGINT UNSIGNED;
	DECLARE overdue CURSOR FOR SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '%s' AND COMMAND IN ('Query', 'Execute') AND TIME > %d;
	DECLARE CONTINUE HANDLER FOR NOT FOUND SET last = 1;
	DECLARE CONTINUE HANDLER FOR 1094 SET ended = ended - 1;
	OPEN overdue;
	FETCH overdue INTO thread;
	WHILE last = 0 DO
		SET ended = ended + 1;
		KILL QUERY thread;
		FETCH overdue INTO thread;
	END WHILE;
	CLOSE overdue;
	SELECT ended;
END`

// endOverdue ends what takes too long in sessions of PostgreSQL: statements are cancelled, and sessions ended that do not
// heed it, as where the client takes no answers, or that keep a transaction open without doing anything.
const endOverdue = `SELECT COUNT(*) FROM (
	SELECT CASE WHEN state = 'active' AND since < 2 * "StatementMillis" THEN pg_cancel_backend(pid) ELSE pg_terminate_backend(pid) END AS done
	FROM (SELECT pid, state, "StatementMillis", 1000 * EXTRACT(EPOCH FROM clock_timestamp() - CASE state WHEN 'active' THEN query_start ELSE state_change END) AS since
		FROM pg_stat_activity JOIN dcmgate_reader ON usename = "Name"
		WHERE datname = current_database() AND (state = 'active' OR state LIKE 'idle in transaction%')) AS sessions
	WHERE since > "StatementMillis") AS overdue WHERE done`

// endOverdue ends statements of those who read that take longer than they may, and tells how many.
func (st *database) endOverdue(ctx context.Context) (ended int, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	switch st.d {
	case postgresDialect:
		err = st.db.QueryRowContext(ctx, endOverdue).Scan(&ended)
	case mysqlDialect:
		ended, err = st.callWatchers(ctx)
	}
	if err != nil {
		return ended, fmt.Errorf("end statements that take too long: %w", err)
	}
	return ended, nil
}

// callWatchers calls the procedures that the account may call.
func (st *database) callWatchers(ctx context.Context) (ended int, err error) {
	rows, err := st.db.QueryContext(ctx, "SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE() AND ROUTINE_NAME LIKE ?",
		strings.ReplaceAll(watchPrefix, "_", `\_`)+"%")
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return 0, err
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	for _, name := range names {
		var n int
		if err := st.db.QueryRowContext(ctx, "CALL "+st.d.name1(name)+"()").Scan(&n); err != nil {
			return ended, err
		}
		ended += n
	}
	return ended, nil
}

// watch ends statements that take too long until ctx ends. Publishing goes on where it cannot.
func (s *session) watch(ctx context.Context) {
	look := time.NewTicker(watchEvery)
	defer look.Stop()
	for failed := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		ended, err := s.endOverdue(ctx)
		if ended > 0 {
			s.metrics.ended.Add(float64(ended))
			s.log.Warn("ended statements that took longer than an account may", "statements", ended)
		}
		if err != nil && !failed && ctx.Err() == nil {
			s.log.Warn("statements that take too long cannot be ended", "error", speakable(err))
		}
		failed = err != nil
	}
}
