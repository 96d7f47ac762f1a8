// The description of this very server, its examples with the address under which this page was opened.
"use strict";
fetch("/api/v1/openapi.json").then((answer) => answer.text()).then((text) => SwaggerUIBundle({
  spec: JSON.parse(text.replaceAll("http://127.0.0.1:7860", location.origin)),
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null, // it would send the description elsewhere
  requestSnippetsEnabled: true,
  supportedSubmitMethods: ["get", "post"],
}));
