package views

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
)

func TestErrorsDoNotQuoteRows(t *testing.T) {
	for number, shown := range map[uint16]bool{1366: false, 1062: false, 1292: false, 1045: true} {
		err := fmt.Errorf("write rows: %w", &mysql.MySQLError{Number: number, Message: "about 'Zhang San'"})
		if strings.Contains(speakable(err), "Zhang") != shown {
			t.Errorf("error %d: %s", number, speakable(err))
		}
	}
	if text := speakable(errors.New("connection refused")); text != "connection refused" {
		t.Error(text)
	}
}
