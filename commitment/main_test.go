package commitment

import (
	"testing"

	"dcmgate/internal/peertest"
)

func TestMain(m *testing.M) { peertest.Main(m) }
