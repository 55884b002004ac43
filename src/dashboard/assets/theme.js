// Before anything is drawn, so that the page doesn't flash in the other theme.
document.documentElement.dataset.theme = localStorage.getItem("theme") || "auto";
