package machine

import (
	"os"
	"os/user"
	"strconv"
)

// User is the name of the user that this process runs by, or its number.
func User() string {
	id := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}
