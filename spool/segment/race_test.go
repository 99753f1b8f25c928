//go:build race

package segment

func raceEnabled() bool { return true }
