import { asked, describeFaults } from "./faults.ts";

describeFaults("404, 405", [
  {
    code: "sentinel:routing:route_not_found",
    status: 404,
    title: "Not Found",
    name: "no route",
    detail: "No route matches this request",
    send: asked("/nowhere"),
  },
  {
    code: "sentinel:routing:method_not_allowed",
    status: 405,
    title: "Method Not Allowed",
    name: "a path with other methods only names them",
    detail: /GET, HEAD, POST|POST, GET, HEAD|GET.*POST/,
    fields: { allow: /^(GET, HEAD, POST|POST, GET, HEAD)$/ },
    send: asked("/apis/api_1").replace("GET", "PUT"),
  },
  {
    code: "sentinel:routing:method_not_allowed",
    status: 405,
    title: "Method Not Allowed",
    name: "TRACE",
    detail: /./,
    fields: { allow: /./ },
    send: asked("/any").replace("GET", "TRACE"),
  },
]);
