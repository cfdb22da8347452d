namespace Rollcall;

/// <summary>Something a person asked for cannot be done. The message is one line that says what is wrong and what to do.</summary>
public class RollcallException(string message, Exception? inner = null) : Exception(message, inner);
