"""The pages, the API and the live views over what is stored."""
