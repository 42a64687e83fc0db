package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
)

type healthResource struct{ registry *health.Registry }

func (h healthResource) routes() []edge.Route {
	return []edge.Route{
		{Method: http.MethodGet, Path: "/livez", Role: edge.Anyone,
			Handle: func(c *gin.Context) { answerReport(c, h.registry.LiveReport()) }},
		{Method: http.MethodGet, Path: "/readyz", Role: edge.Anyone,
			Handle: func(c *gin.Context) { answerReport(c, h.registry.ReadyReport()) }},
	}
}

func answerReport(c *gin.Context, report health.Report) {
	status := http.StatusOK
	if !report.OK() {
		status = http.StatusServiceUnavailable
	}
	c.JSON(status, report)
}
