"""One page that a team passes around: what a sweep found, how sure that is, and how to do it again."""
