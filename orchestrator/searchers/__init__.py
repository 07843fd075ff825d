"""searchers"""
