//! Reading and writing of tar streams, strictly.
