package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/server"
)

type healthResource struct{ registry *health.Registry }

func (h healthResource) routes() []edge.Route {
	return []edge.Route{
		{Method: http.MethodGet, Path: pathLive, Role: edge.Anyone,
			Handle: func(c *gin.Context) { answerReport(c, h.registry.LiveReport()) }},
		{Method: http.MethodGet, Path: pathReady, Role: edge.Anyone,
			Handle: func(c *gin.Context) { answerReport(c, h.registry.ReadyReport()) }},
	}
}

const (
	pathLive  = "/livez"
	pathReady = "/readyz"
)

// healthBody is all that anybody may know. The status has the checks.
type healthBody struct {
	Status string `json:"status"`
}

func answerReport(c *gin.Context, report health.Report) {
	if !noQuery(c) {
		return
	}
	status := http.StatusOK
	if !report.OK() {
		status = http.StatusServiceUnavailable
	}
	if server.IsSelf(c.Request.Context()) {
		c.JSON(status, report) // the watchdog names the check that failed
		return
	}
	c.JSON(status, healthBody{report.Status})
}
