"""Work that is spread over processes and machines: one worker class, and the engines that run it."""
