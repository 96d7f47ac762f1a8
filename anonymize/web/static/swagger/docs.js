// The description of this very server, its examples with the address under which this page was opened.
"use strict";
const root = new URL("..", location).href.replace(/\/$/, "");
fetch("v1/openapi.json").then((answer) => answer.text()).then((text) => SwaggerUIBundle({
  spec: { ...JSON.parse(text.replaceAll("http://127.0.0.1:7860", root)), servers: [{ url: root }] },
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null, // it would send the description elsewhere
  requestSnippetsEnabled: true,
  supportedSubmitMethods: ["get", "post"],
}));
