package views

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pressly/goose/v3"
)

// migrations lead from an empty database to this version's tables. One that is published is never changed.
func migrations(d *dialect) []*goose.Migration {
	list := []*goose.Migration{migration(1, schema(d))}
	if d == postgresDialect {
		list = append(list, migration(2, []string{createReaders(d)}))
	}
	return append(list, migration(3, schemaOthers(d)))
}

func migration(version int64, statements []string) *goose.Migration {
	return goose.NewGoMigration(version, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		for _, statement := range statements {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}}, nil)
}

// migrate brings the tables to this version and makes the views that are not there. A database that a later version has
// been at is left alone.
func migrate(ctx context.Context, d *dialect, db *sql.DB, asText bool) error {
	p, err := goose.NewProvider(d.goose, db, nil, goose.WithGoMigrations(migrations(d)...),
		goose.WithDisableGlobalRegistry(true), goose.WithTableName(versionTable))
	if err != nil {
		return err
	}
	at, target, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("version of the tables: %w", err)
	}
	if at > target {
		return fmt.Errorf("the tables are of version %d, this dcmgate knows up to %d; use a later one", at, target)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	return ensureViews(ctx, d, db, asText)
}

// viewNames lists the names of each view: PostgreSQL has one for those who write it without quotes, and so has MySQL where
// it tells upper from lower case.
func viewNames(ctx context.Context, d *dialect, db *sql.DB) (lower []bool, err error) {
	switch d {
	case postgresDialect:
		return []bool{false, true}, nil
	case mysqlDialect:
		var fold int
		if err := db.QueryRowContext(ctx, "SELECT @@lower_case_table_names").Scan(&fold); err != nil {
			return nil, err
		}
		if fold == 0 {
			return []bool{false, true}, nil
		}
	}
	return []bool{false}, nil
}

// ensureViews makes the views that cannot be read.
func ensureViews(ctx context.Context, d *dialect, db *sql.DB, asText bool) error {
	return eachView(ctx, d, db, func(t *table, lower bool) error {
		rows, err := db.QueryContext(ctx, "SELECT * FROM "+d.name1(t.viewName(lower))+" WHERE 1 = 0")
		if err == nil {
			return rows.Close()
		}
		return define(ctx, d, db, t, lower, asText)
	})
}

// replaceViews makes all views anew: their definition depends on settings. Rights to them are lost.
func replaceViews(ctx context.Context, d *dialect, db *sql.DB, asText bool) error {
	return eachView(ctx, d, db, func(t *table, lower bool) error {
		if _, err := db.ExecContext(ctx, "DROP VIEW IF EXISTS "+d.name1(t.viewName(lower))); err != nil {
			return fmt.Errorf("view %s: %w", t.viewName(lower), err)
		}
		return define(ctx, d, db, t, lower, asText)
	})
}

func define(ctx context.Context, d *dialect, db *sql.DB, t *table, lower, asText bool) error {
	if _, err := db.ExecContext(ctx, t.createView(d, lower, asText)); err != nil {
		return fmt.Errorf("view %s: %w", t.viewName(lower), err)
	}
	return nil
}

func eachView(ctx context.Context, d *dialect, db *sql.DB, do func(t *table, lower bool) error) error {
	names, err := viewNames(ctx, d, db)
	if err != nil {
		return err
	}
	for _, t := range tables {
		for _, lower := range names {
			if err := do(t, lower); err != nil {
				return err
			}
		}
	}
	return nil
}
