package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/internal/health"
)

func (a *api) registerHealth(engine *gin.Engine) {
	get(engine, "/livez", func(c *gin.Context) { answerReport(c, a.Health.LiveReport()) })
	get(engine, "/readyz", func(c *gin.Context) { answerReport(c, a.Health.ReadyReport()) })
}

func answerReport(c *gin.Context, report health.Report) {
	status := http.StatusOK
	if !report.OK() {
		status = http.StatusServiceUnavailable
	}
	c.JSON(status, report)
}
