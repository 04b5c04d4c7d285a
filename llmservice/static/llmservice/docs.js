"use strict";

const root = document.getElementById("swagger-ui");

// Swagger UI has a dark style, but does not switch it on by itself.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

SwaggerUIBundle({
  domNode: root,
  url: root.dataset.schema,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  docExpansion: "list",
  tryItOutEnabled: true,
  displayRequestDuration: true,
  // A key in the browser's storage would be found by the next person at this browser.
  persistAuthorization: false,
  // By default the page loads a badge from a public validator, which thereby learns its address.
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
  syntaxHighlight: { theme: "nord" },
});
