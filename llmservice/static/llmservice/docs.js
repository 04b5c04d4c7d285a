"use strict";

const root = document.getElementById("swagger-ui");

// Swagger UI has a dark style, but does not switch it on by itself.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// What Swagger UI shows otherwise than this page wants it.
const changes = ({ React: { createElement: h } }) => ({
  wrapComponents: {
    // The page has its own head.
    InfoContainer: () => () => null,
    // A link inside of the button that opens an operation: a keyboard cannot reach one of them.
    DeepLink: () => ({ text }) => h("span", null, text),
    // The headers are the same for each status, and each refusal has the same form: they are opened when wanted.
    headers: (Headers) => (props) =>
      props.headers?.size ? h("details", null, h("summary", null, "Headers"), h(Headers, props)) : null,
    response: (Response) => (props) => {
      if (props.code < "400") return h(Response, props);
      const description = props.response.get("description");
      return h("tr", { className: "response docs-refusal" },
        h("td", { className: "response-col_status" }, props.code),
        h("td", null, h("details", null, h("summary", null, description),
          h("table", null, h("tbody", null, h(Response, props))))));
    },
  },
});

// What Swagger UI leaves out that assistive technology needs.
const MISSING = {
  ".examples-select-element": { "aria-label": "Example" },
  ".opblock-section-request-body .content-type": { "aria-label": "Media type of the body" },
  ".response-controls select": { "aria-label": "Example of the answer" },
  ".response-control-media-type select": { "aria-label": "Media type of the answer" },
  "textarea.body-param__text": { "aria-label": "Request body" },
  ".responses-wrapper table[role=region]": { role: "table" },
  ".highlight-code pre, pre.microlight": { tabindex: "0" },
  ".modal-ux": { role: "dialog", "aria-modal": "true", "aria-label": "Authorize" },
  ".modal-ux input": { "aria-label": "API key" },
  ".close-modal": { "aria-label": "Close" },
};
new MutationObserver(() => {
  for (const [selector, attributes] of Object.entries(MISSING)) {
    for (const element of root.querySelectorAll(selector)) {
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    }
  }
}).observe(root, { childList: true, subtree: true });

SwaggerUIBundle({
  domNode: root,
  url: root.dataset.schema,
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [changes],
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
  syntaxHighlight: { theme: "monokai" },
});
