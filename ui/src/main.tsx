// Starts the page.
import { render } from "preact";
import { loadConversations } from "./chat/state.ts";
import { applyTheme, savedTheme } from "./parts/theme.ts";
import { App } from "./views/app.tsx";

applyTheme(savedTheme());
const page = document.getElementById("page");
if (page) render(<App />, page);
void loadConversations();
