module example.com/@NAME@

go @GO@

require (
	github.com/gin-gonic/gin @GIN@
	github.com/meta-gin-edge/meta-gin-edge/src v0.0.0
)

// For work on this machine. A build takes the checkout that kas has fetched.
replace github.com/meta-gin-edge/meta-gin-edge/src => @BASE@
