package config

// renaming is a key of an earlier release. A file on a device outlives updates,
// so such a key is accepted, with a warning, for one release after the one that
// has changed it.
type renaming struct {
	old  string // as the file has it
	now  string // the key that it sets, with the same kind of value; "" when it is gone
	note string // what else there is to know, or ""
}

// renamed are the keys that this release renames or drops. A line goes away with
// the next release.
var renamed = []renaming{}
