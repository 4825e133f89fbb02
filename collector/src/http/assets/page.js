SwaggerUIBundle({
  url: "api/v1/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  // The badge asks a server elsewhere.
  validatorUrl: null,
  // A token is not kept on the disk.
  persistAuthorization: false,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
});
