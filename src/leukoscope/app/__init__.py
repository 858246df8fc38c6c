"""The app in the pocket: a static site that answers in the browser, offline, as the command line does."""
