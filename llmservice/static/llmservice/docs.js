"use strict";

const root = document.getElementById("swagger-ui");

// Swagger UI has a dark style and leaves it to the page to switch it on.
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
  // A key that stays in the browser's storage is one that a later visitor of this browser finds.
  persistAuthorization: false,
  // Otherwise the page shows a badge of a validator on the internet, which gets this page's address.
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
  syntaxHighlight: { theme: "nord" },
});
