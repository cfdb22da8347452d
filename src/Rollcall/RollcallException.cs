namespace Rollcall;

/// <summary>Something a person asked for cannot be done. The message is one line that says what is wrong and what to do.</summary>
public class RollcallException(string message, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>A value has not the form that it needs, whatever there is here: who wrote it wrote it wrongly.</summary>
    public bool IsOfValue { get; private init; }

    /// <summary>There is nobody under what was asked for, or nobody whom the asker may see.</summary>
    public bool IsNobody { get; private init; }

    /// <summary>The message names somebody, by a barcode for instance: it is for those who may see that, and not for a log.</summary>
    public bool IsOfPerson { get; private init; }

    /// <summary>The refusal of a value that has not the form that it needs.</summary>
    public static RollcallException OfValue(string message, Exception? inner = null) => new(message, inner) { IsOfValue = true };

    /// <summary>The answer where nobody is under what was asked for.</summary>
    public static RollcallException OfNobody(string message) => new(message) { IsNobody = true };

    /// <summary>What cannot be done, in words that name somebody.</summary>
    public static RollcallException OfPerson(string message) => new(message) { IsOfPerson = true };
}
