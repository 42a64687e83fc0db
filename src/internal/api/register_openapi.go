package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	spec "github.com/meta-gin-edge/meta-gin-edge/src/api"
)

func (a *api) registerOpenAPI(engine *gin.Engine) {
	get(engine, "/openapi.json", func(c *gin.Context) {
		c.Data(http.StatusOK, "application/json", spec.OpenAPI)
	})
}
