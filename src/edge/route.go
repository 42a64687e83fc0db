package edge

import "github.com/gin-gonic/gin"

// Role says who may call a route.
type Role int

// The roles, by rising rights; Metrics stands apart. No route is open by
// omission: one whose role is unset does not start. Until the service knows
// users, a route that asks for one is closed to everybody (403).
const (
	unset     Role = iota
	Anyone         // also without credentials
	Unclaimed      // anyone, until the device has an owner
	Viewer         // may look
	Operator       // may act, within the settings
	Owner          // may change the settings
	Metrics        // a token that reads figures alone
)

var roleNames = [...]string{
	unset: "unset", Anyone: "Anyone", Unclaimed: "Unclaimed", Viewer: "Viewer",
	Operator: "Operator", Owner: "Owner", Metrics: "Metrics",
}

// String returns the name of the constant.
func (r Role) String() string {
	if r < 0 || int(r) >= len(roleNames) {
		return "unknown"
	}
	return roleNames[r]
}

// Cost says how expensive an answer may be, and with it how many are made at a
// time. One too many is told to come again: 503 when all places are taken, 429
// when the client itself has taken its share of them.
type Cost int

// The costs.
const (
	Small   Cost = iota // made at once, from little; no limit of its own
	Large               // over a store of the service: a few at a time
	Endless             // a stream: ends with the client, the service or its longest life
)

var costNames = [...]string{Small: "Small", Large: "Large", Endless: "Endless"}

// String returns the name of the constant.
func (c Cost) String() string {
	if c < 0 || int(c) >= len(costNames) {
		return "unknown"
	}
	return costNames[c]
}

// Route is a row of the route table: one operation of the API document. GET
// answers HEAD, too.
type Route struct {
	// Method and Path are as Gin takes them. A parameter is /:name; there is no
	// wildcard.
	Method, Path string
	Role         Role
	// Body is the largest body that the route takes, in bytes. With 0 none is
	// read: a request that has one is answered without waiting for it. The body
	// is charged to the memory of the service before the handler runs.
	Body int64
	Cost Cost
	// Handle answers. One that goes on beyond server.read_timeout and
	// write_timeout together (a minute) is taken for hung, and the watchdog
	// restarts the service; not so one that sets deadlines of its own, by
	// http.ResponseController, as a stream does.
	Handle gin.HandlerFunc

	// Summary is a line for the API document, Operation the rest of it: the
	// members of an OpenAPI operation object, as JSON, or "". What every operation
	// has is filled in. A parameter of the query that it does not describe, or that
	// a request has twice, is answered with 400. The routes of the service itself are in the document
	// already and have neither.
	Summary   string
	Operation string
}
