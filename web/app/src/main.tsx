import { render } from "preact";

import { App } from "./app.js";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/forms.css";
import "./styles/pages.css";
import "./styles/moderation.css";
import "./styles/meeting.css";

const root = document.getElementById("app");
if (root) render(<App />, root);
